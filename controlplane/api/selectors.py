"""labelSelector and fieldSelector: text → a predicate over resources. Pure.

Path: a list, watch or deletecollection query → [selectors] → objects, watch.

Labels: `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, joined by commas. Fields: what each kind has
(metadata.name and metadata.namespace; involvedObject.* and more of events; status.phase of pods), `=`, `==`, `!=`.

Source: Kubernetes API concepts, "Labels and selectors", "Field selectors".
"""

import re
from collections.abc import Callable

from controlplane.api.status import bad_request
from dataplane.resources import core
from dataplane.resources.kinds import Kind
from dataplane.resources.meta import Resource

Predicate = Callable[[Resource], bool]

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._-]*/)?[A-Za-z0-9._-]*"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<k0>{_KEY})"
    rf"|(?P<k1>{_KEY})\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<k2>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>[A-Za-z0-9._-]*)"
    rf"|(?P<k3>{_KEY}))\s*(?:,|$)"
)


def always(_: Resource) -> bool:
    return True


def labels(text: str) -> Predicate:
    """Raises ApiError 400 for what is not a selector."""
    tests: list[Callable[[dict[str, str]], bool]] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None:
            raise bad_request(f"unable to parse requirement: {text[at:]!r} in label selector {text!r}")
        at = found.end()
        tests.append(_requirement(found))
    if not tests:
        return always
    return lambda one: all(test(one.metadata.labels) for test in tests)


def _requirement(found: re.Match[str]) -> Callable[[dict[str, str]], bool]:
    part = found.groupdict()
    if part["absent"]:
        absent: str = part["k0"]
        return lambda have: absent not in have
    if part["set"]:
        member, values = part["k1"], {value.strip() for value in part["values"].split(",")}
        if part["set"] == "in":
            return lambda have: have.get(member) in values
        return lambda have: have.get(member) not in values
    if part["op"]:
        key, value = part["k2"], part["value"]
        if part["op"] == "!=":
            return lambda have: have.get(key) != value
        return lambda have: have.get(key) == value
    present: str = part["k3"]
    return lambda have: present in have


def _involved(field: str) -> Callable[[Resource], str]:
    def read(one: Resource) -> str:
        assert isinstance(one, core.Event)
        return str(getattr(one.involved_object, field))

    return read


def _event(field: str) -> Callable[[Resource], str]:
    return lambda one: str(getattr(one, field))


def _pod_phase(one: Resource) -> str:
    assert isinstance(one, core.Pod)
    return one.status.phase


_ANY: dict[str, Callable[[Resource], str]] = {
    "metadata.name": lambda one: one.metadata.name,
    "metadata.namespace": lambda one: one.metadata.namespace,
}
_OF_KIND: dict[str, dict[str, Callable[[Resource], str]]] = {
    "Event": {
        "involvedObject.kind": _involved("kind"),
        "involvedObject.namespace": _involved("namespace"),
        "involvedObject.name": _involved("name"),
        "involvedObject.uid": _involved("uid"),
        "involvedObject.apiVersion": _involved("api_version"),
        "involvedObject.resourceVersion": _involved("resource_version"),
        "involvedObject.fieldPath": _involved("field_path"),
        "reason": _event("reason"),
        "type": _event("type"),
        "reportingComponent": _event("reporting_component"),
    },
    "Pod": {"status.phase": _pod_phase},
}


def fields(kind: Kind, text: str) -> Predicate:
    """Raises ApiError 400 for a field that this kind cannot be selected by."""
    known = {**_ANY, **(_OF_KIND.get(kind.kind, {}) if not kind.group else {})}
    tests: list[Predicate] = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*([A-Za-z0-9.]+)\s*(==|=|!=)(.*)", term)
        if found is None:
            raise bad_request(f'invalid selector: "{text}"; can\'t understand "{term}"')
        field, operator, value = found.groups()
        if field not in known:
            raise bad_request(f"field label not supported: {field}; {kind.kind} has {', '.join(sorted(known))}")
        tests.append(_field(known[field], value, equal=operator != "!="))
    if not tests:
        return always
    return lambda one: all(test(one) for test in tests)


def _field(read: Callable[[Resource], str], value: str, *, equal: bool) -> Predicate:
    return lambda one: (read(one) == value) is equal


def both(first: Predicate, second: Predicate) -> Predicate:
    if first is always:
        return second
    return first if second is always else lambda one: first(one) and second(one)
