"""Traffic targets of Routes and Services. Pure.

Path: validate_serving.py → [validate_traffic].

Source: spec/serving.md §5.3 (spec.traffic).
"""

from collections.abc import Iterator

from controlplane.admission.fielderror import (
    FieldError,
    disallowed,
    invalid,
    invalid_key,
    none_of,
    other,
    out_of_bounds,
    several_of,
    under,
)
from controlplane.admission.names import dns1035_label, qualified_name
from controlplane.admission.validate_metadata import complaints
from dataplane.resources.serving import TrafficTarget


def traffic(targets: tuple[TrafficTarget, ...], *, of_service: bool) -> Iterator[FieldError]:
    """Paths are relative to `traffic`. `of_service`: the configuration is the Service's own and may not be named."""
    first: dict[str, int] = {}
    for index, target in enumerate(targets):
        yield from under(f"[{index}]", _target(target, of_service))
        if not target.tag:
            continue
        if wrong := dns1035_label(target.tag):
            yield invalid(f"not a DNS 1035 label: {complaints(wrong)}", f"[{index}].tag")
        if target.tag in first:
            message = f'Multiple definitions for "{target.tag:.100}"'
            yield other(message, f"[{index}].tag", f"[{first[target.tag]}].tag")
        else:
            first[target.tag] = index
    total = sum(target.percent or 0 for target in targets)
    if total != 100:
        yield other(f"Traffic targets sum to {total}, want 100", "")


def _target(target: TrafficTarget, of_service: bool) -> Iterator[FieldError]:
    pinned = bool(target.revision_name)
    if target.latest_revision is not None and pinned == target.latest_revision:
        word = "true" if target.latest_revision else "false"
        message = f'may not set revisionName "{target.revision_name:.100}" when latestRevision is {word}'
        yield other(message, "latestRevision")
    if of_service and target.configuration_name:
        yield disallowed("configurationName")
    elif target.revision_name and target.configuration_name:
        yield several_of("revisionName", "configurationName")
    elif target.revision_name:
        yield from _reference(target.revision_name, "revisionName")
    elif target.configuration_name:
        yield from _reference(target.configuration_name, "configurationName")
    elif not of_service:
        yield none_of("revisionName", "configurationName")
    if target.percent is not None and not 0 <= target.percent <= 100:
        yield out_of_bounds(target.percent, 0, 100, "percent")
    if target.url:
        yield disallowed("url")


def _reference(name: str, path: str) -> Iterator[FieldError]:
    if wrong := qualified_name(name):
        yield invalid_key(name, path, ", ".join(wrong))
