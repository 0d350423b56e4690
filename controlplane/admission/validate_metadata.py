"""Names, owner labels and the annotations of Service, Configuration and Route themselves. Pure.

Path: validate_serving.py → [validate_metadata].

Source: spec/serving.md §1.9, §5.3.
"""

from collections.abc import Iterator, Mapping

from controlplane import annotations as keys
from controlplane.admission.fielderror import FieldError, invalid, invalid_key, missing, other
from controlplane.admission.names import dns1035_label
from controlplane.go_text import duration_ns
from dataplane.resources.meta import ObjectMeta

_SECOND_NS = 10**9
_UNDER_TEMPLATE = 'autoscaling annotations must be put under "spec.template.metadata.annotations" to work'


def complaints(texts: list[str]) -> str:
    """Go's print of a list."""
    return f"[{' '.join(texts)}]"


def names(meta: ObjectMeta) -> Iterator[FieldError]:
    if meta.generate_name and (wrong := dns1035_label(meta.generate_name, prefix=True)):
        yield other(f"not a DNS 1035 label prefix: {complaints(wrong)}", "generateName")
    elif meta.name and (wrong := dns1035_label(meta.name)):
        yield other(f"not a DNS 1035 label: {complaints(wrong)}", "name")
    elif not meta.generate_name and not meta.name:
        yield other("name or generateName is required", "name")


def no_autoscaling(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    """Paths are relative to `annotations`."""
    for key in annotations:
        if key.startswith(keys.AUTOSCALING.removesuffix("/")):
            yield invalid_key(key, "", _UNDER_TEMPLATE)


def rollout_duration(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    yield from whole_seconds(annotations, keys.ROLLOUT_DURATION)


def whole_seconds(annotations: Mapping[str, str], key: str) -> Iterator[FieldError]:
    """A Go duration of whole seconds that is not negative."""
    pair = keys.found(annotations, key)
    if pair is None or not pair[1]:
        return
    spelling, text = pair
    name = key.rpartition("/")[2]
    try:
        duration = duration_ns(text)
    except ValueError:
        yield invalid(text, spelling)
        return
    if duration % _SECOND_NS:
        yield other(f"{name}={text:.100} is not at second precision", spelling)
    elif duration < 0:
        yield other(f"{name}={text:.100} must be positive", spelling)


def owner_label(meta: ObjectMeta, label: str, kind: str) -> Iterator[FieldError]:
    """A label that says who owns this must be true. Path relative to `labels`."""
    value = meta.labels.get(label)
    if value is not None and not any(ref.kind == kind and ref.name == value for ref in meta.owner_references):
        yield missing(label)


def creator_and_modifier(old: Mapping[str, str], new: Mapping[str, str], *, spec_changed: bool) -> Iterator[FieldError]:
    """Who made it never changes; who changed it last changes only with a change. `new` is as the user sent it."""
    if keys.CREATOR in new and old.get(keys.CREATOR, "") != new[keys.CREATOR]:
        yield other("annotation value is immutable", keys.CREATOR)
    modifier = new.get(keys.LAST_MODIFIER)
    if modifier is not None and not spec_changed and old.get(keys.LAST_MODIFIER, "") != modifier:
        yield invalid(modifier, keys.LAST_MODIFIER)
