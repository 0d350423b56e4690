"""What users type for resources: `ksvc`, `rev/hello-00001`, `services.serving.knative.dev`, `pods,ksvc`, `all`.

Path: arguments of get, describe, delete, logs → [names] → dataplane/resources/kinds.py.

Source: design/ecosystem.md §2.1, §2.2 (short names and categories).
"""

import difflib
from typing import NamedTuple

from dataplane.resources.kinds import KINDS, Kind
from launch.instance import Failure


class Target(NamedTuple):
    """A kind and, perhaps, a name."""

    kind: Kind
    name: str = ""


def kinds_named(word: str) -> list[Kind]:
    """The kinds that `word` means: one, or all of a category. Raises Failure with a suggestion."""
    asked = word.lower()
    category = [kind for kind in KINDS if asked in kind.categories]
    if category:
        return category
    resource, _, group = asked.partition(".")
    found = [kind for kind in KINDS if resource in _words(kind) and (not group or _in_group(kind, group))]
    if found:
        return found[:1]
    known = sorted({one for kind in KINDS for one in _words(kind)})
    near = difflib.get_close_matches(asked, known, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(sorted(k.plural for k in KINDS))}"
    raise Failure(f'the server has no resource type "{word}"{hint}')


def kind_named(word: str) -> Kind:
    """Exactly one kind. Raises Failure."""
    found = kinds_named(word)
    if len(found) > 1:
        raise Failure(f'"{word}" means several kinds; name one of {", ".join(kind.plural for kind in found)}')
    return found[0]


def targets(words: tuple[str, ...]) -> list[Target]:
    """`TYPE[,TYPE] [NAME …]` or `TYPE/NAME …`. Raises Failure when the two are mixed."""
    if not words:
        raise Failure("name what you want, for example: ksvc, ksvc/hello, pods, all")
    if any("/" in word for word in words):
        if not all("/" in word for word in words):
            raise Failure("either TYPE NAME … or TYPE/NAME …, not both")
        return [Target(kind_named(kind), name) for kind, _, name in (word.partition("/") for word in words)]
    kinds = [kind for word in words[0].split(",") for kind in kinds_named(word)]
    if len(words) > 1:
        return [Target(kind, name) for kind in kinds for name in words[1:]]
    return [Target(kind) for kind in kinds]


def full_name(kind: Kind, name: str) -> str:
    """`service.serving.knative.dev/hello`, as kubectl prints it."""
    return f"{kind.singular}.{kind.group}/{name}" if kind.group else f"{kind.singular}/{name}"


def _words(kind: Kind) -> tuple[str, ...]:
    return (kind.plural, kind.singular, *kind.short_names)


def _in_group(kind: Kind, group: str) -> bool:
    """`serving.knative.dev` or `v1.serving.knative.dev`."""
    return group in (kind.group, f"{kind.version}.{kind.group}")
