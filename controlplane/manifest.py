"""Manifests: text → objects, with every mistake of a file at once, each with its line and column. Pure.

Path: `dataplane apply -f`, `dataplane up -f` → [manifest] → yaml_text.py, strict.py, admission/admit.py.

Three kinds of mistakes meet here: the text is no YAML, the data does not fit the kind, the object is not allowed. What
does not fit is left out and the rest is still checked, so that three mistakes give three errors; complaints that only
follow from what was left out are not repeated.

A mistake reads `hello.yaml:12:7: spec.template.spec.containers[0].imagee: unknown field; did you mean "image"?`.

Source: design/ecosystem.md §1.6; reliability CP-01, CP-02; spec/serving.md §5.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from controlplane.admission.admit import admit
from controlplane.knative_settings import KnativeConfig
from controlplane.store.contract import Key
from controlplane.strict import Fault, close_to, decode, draft_of, unknown_fields
from controlplane.yaml_text import Document, Place, documents
from dataplane.resources.kinds import BY_KIND, BY_STRUCT, KINDS, Kind
from dataplane.resources.meta import Resource

__all__ = ["Manifest", "Mistake", "Parsed", "Where", "check", "decode", "key_of", "load", "unknown_fields"]

OBJECTS_MAX = 10_000
_USER = "dataplane"


class Where(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Mistake(NamedTuple):
    """`message` begins with the field's path when there is one; `suggestion` is what was probably meant, or ""."""

    where: Where
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        return f"{self.where}: {self.message}{hint}"


class Parsed(NamedTuple):
    """One object. `repaired`: paths that were left out of it because they were wrong; empty = as its author meant."""

    object: Resource
    source: str
    place: Place
    repaired: tuple[str, ...] = ()

    @property
    def where(self) -> Where:
        return Where(self.source, self.place.line, self.place.column)

    def locate(self, path: str) -> Where:
        """Where a field stands, or the nearest field around it that exists."""
        found = self.place.find(path)
        return Where(self.source, found.line, found.column)


class Manifest(NamedTuple):
    """`objects` can be applied when `errors` is empty; `drafts` are those with something left out, for check()."""

    objects: tuple[Parsed, ...]
    errors: tuple[Mistake, ...]
    drafts: tuple[Parsed, ...] = ()


def load(text: str, source: str) -> Manifest:
    """Read YAML or JSON, several documents, `List` kinds.

    Args:
        source: the name of the file, for messages.
    """
    found, faults = documents(text)
    if text.lstrip()[:1] in ("{", "[") and not any(not fault.syntax for fault in faults):
        # YAML is nearly a superset of JSON: where they differ (surrogate pairs, line separators in strings, tabs) the
        # values are JSON's, and the places YAML's as far as it came.
        data = _json(text)
        if data is not None:
            place = found[0].place if len(found) == 1 and not faults else Place(1, 1)
            found, faults = [Document(data, place)], []
    errors = [Mistake(Where(source, fault.line, fault.column), fault.message) for fault in faults]
    objects: list[Parsed] = []
    drafts: list[Parsed] = []
    for document in found:
        for value, place in _items(document):
            if len(objects) + len(drafts) >= OBJECTS_MAX:
                errors.append(Mistake(Where(source, place.line, place.column), f"more than {OBJECTS_MAX} objects"))
                return Manifest(tuple(objects), _ordered(errors), tuple(drafts))
            parsed, mistakes = _object(value, place, source)
            errors.extend(mistakes)
            if parsed is not None:
                (drafts if mistakes else objects).append(parsed)
    return Manifest(tuple(objects), _ordered(errors), tuple(drafts))


def check(manifest: Manifest, config: KnativeConfig, existing: Callable[[Key], Resource | None]) -> list[Mistake]:
    """Every mistake: those of load(), and what admission would say to each object, in the order of the text.

    Args:
        existing: what is stored under a key, for rules about changes; `lambda key: None` when nothing is known.
    """
    errors = list(manifest.errors)
    earlier: dict[Key, Resource] = {}  # a file may hold an object twice: the second is an update of the first
    for parsed in sorted((*manifest.objects, *manifest.drafts), key=lambda one: one.where):
        key = key_of(parsed.object)
        old = earlier.get(key) if key.name else None
        admitted = admit(parsed.object, old or existing(key), config=config, user=_USER)
        if not admitted.errors:
            earlier[key] = admitted.object
        for error in admitted.errors:
            # One mistake for each place: two containers without an image are two things to mend.
            together = len(error.paths) > 1 and not error.message.startswith(
                ("missing field", "must not set", "invalid")
            )
            for paths in [error.paths] if together else [(path,) for path in error.paths]:
                if not all(_follows(path, parsed.repaired) for path in paths):
                    details = f" ({' '.join(error.details.split())})" if error.details else ""
                    message = f"{', '.join(paths)}: {error.message}{details}" if any(paths) else error.message + details
                    errors.append(Mistake(parsed.locate(paths[0]), message))
    return list(_ordered(errors))


def key_of(one: Resource) -> Key:
    """The identity; namespace "default" when a namespaced object has none."""
    kind = BY_STRUCT[type(one)]
    namespace = (one.metadata.namespace or "default") if kind.namespaced else ""
    return Key(kind.group, kind.kind, namespace, one.metadata.name)


def _ordered(errors: list[Mistake]) -> tuple[Mistake, ...]:
    return tuple(sorted(errors, key=lambda mistake: mistake.where))


def _follows(path: str, repaired: tuple[str, ...]) -> bool:
    """Whether a complaint about `path` may come from something that was left out there, around it or inside it."""
    return any(
        path == gone or gone.startswith((f"{path}.", f"{path}[")) or path.startswith((f"{gone}.", f"{gone}["))
        for gone in repaired
    )


def _items(document: Document) -> Iterator[tuple[object, Place]]:
    """The document, or the members of a `List`."""
    value, place = document
    kind = value.get("kind") if isinstance(value, dict) else None
    items = value.get("items") if isinstance(value, dict) else None
    listed = isinstance(kind, str) and kind.endswith("List") and kind.removesuffix("List") in _LISTABLE
    if not listed or not isinstance(items, list):
        yield value, place
        return
    around = place.find("items").entries
    places = around if isinstance(around, list) else [place] * len(items)
    yield from zip(items, places, strict=True)


_LISTABLE = frozenset({"", *(kind.kind for kind in KINDS)})


def _object(value: object, place: Place, source: str) -> tuple[Parsed | None, list[Mistake]]:
    def at(path: str) -> Where:
        found = place.find(path)
        return Where(source, found.line, found.column)

    if not isinstance(value, dict):
        return None, [Mistake(at(""), "expected an object with apiVersion, kind and metadata")]
    kind, mistakes = _kind(value, at)
    if kind is None:
        return None, mistakes
    draft, faults = draft_of(kind.struct, value)
    mistakes = [Mistake(at(fault.path), _without_hint(fault), fault.suggestion) for fault in faults]
    if draft is None:
        return None, mistakes
    return Parsed(draft, source, place, tuple(_repaired(faults))), mistakes


def _without_hint(fault: Fault) -> str:
    return f"{fault.path}: {fault.message}" if fault.path else fault.message


def _repaired(faults: Iterable[Fault]) -> Iterator[str]:
    """What is not in the draft: what was wrong, and what was meant by an unknown field."""
    for fault in faults:
        if fault.kind != "unknown":
            yield fault.path
        elif fault.suggestion:
            stem = max(fault.path.rfind(".") + 1, 0)
            yield fault.path[:stem] + fault.suggestion


def _kind(value: dict[str, object], at: Callable[[str], Where]) -> tuple[Kind | None, list[Mistake]]:
    mistakes: list[Mistake] = []
    for field in ("apiVersion", "kind"):
        if not value.get(field):
            mistakes.append(Mistake(at(""), f"{field}: missing field"))
        elif not isinstance(value[field], str):
            mistakes.append(Mistake(at(field), f"{field}: expected a string"))
    if mistakes:
        return None, mistakes
    version, name = str(value["apiVersion"]), str(value["kind"])
    kind = BY_KIND.get((version.rpartition("/")[0], name))
    if kind is not None and kind.api_version == version:
        return kind, []
    known = f'no matches for kind "{name:.100}" in version "{version:.100}"'
    same_kind = [one.api_version for one in KINDS if one.kind == name]
    if same_kind:
        return None, [Mistake(at("apiVersion"), f"apiVersion: {known}", close_to(version, same_kind) or same_kind[0])]
    of_version = [one.kind for one in KINDS if one.api_version == version]
    if of_version and (meant := close_to(name, of_version)):
        return None, [Mistake(at("kind"), f"kind: {known}", meant)]
    close = close_to(name, [one.kind for one in KINDS])
    versions = [one.api_version for one in KINDS if one.kind == close]
    suggestion = f"{versions[0]} {close}" if close else ""
    return None, [Mistake(at("kind"), f"kind: {known}", suggestion)]


def _json(text: str) -> object:
    """None when it is no JSON or has a key twice."""

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        out = dict(found)
        if len(out) < len(found):
            raise ValueError("duplicate key")
        return out

    try:
        return json.loads(text, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return None
