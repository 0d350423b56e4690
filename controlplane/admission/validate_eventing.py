"""Broker and Trigger: what their parts are checked for, and what may not change. Pure.

Path: admit.py → [validate_eventing] → validate_delivery.py, dataplane/policy/filters.py, delivery.py (annotations).

Source: spec/eventing.md §8.5, §12.1, §12.4, §12.6, Appendix B.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from controlplane import delivery as annotated
from controlplane.admission.fielderror import (
    FieldError,
    as_warnings,
    disallowed,
    invalid,
    invalid_key,
    missing,
    other,
    several_of,
    under,
)
from controlplane.admission.fields import difference
from controlplane.admission.validate_core import name
from controlplane.admission.validate_delivery import delivery, destination, reference
from controlplane.broker_config import EXTERNAL_TOPIC
from controlplane.broker_defaults import CLASSES, BrokerDefaults, is_kafka
from controlplane.strict import close_to
from dataplane.policy.filters import attribute_mistakes, mistakes, warnings
from dataplane.resources.eventing import (
    BROKER_CLASS,
    DEPENDENCY,
    INJECTION,
    STARTED_AT,
    Broker,
    Trigger,
    TriggerSpec,
)

_CHANGED = "Immutable fields changed (-old +new)"


def broker(new: Broker, old: Broker | None, defaults: BrokerDefaults) -> Iterator[FieldError]:
    meta, spec = new.metadata, new.spec
    yield from under("metadata", name(meta))
    yield from under(
        "metadata.annotations", _strange(meta.annotations, (), "a Trigger has such annotations, no Broker")
    )
    class_ = meta.annotations.get(BROKER_CLASS, "")
    if class_ not in CLASSES:
        yield invalid(class_, f"metadata.annotations[{BROKER_CLASS}]", f"there is one of {', '.join(CLASSES)}")
    if spec.config is not None:
        yield from under("spec.config", reference(spec.config))
        if defaults.disallow_different_namespace_config and spec.config.namespace not in ("", meta.namespace):
            yield disallowed("spec.config.namespace")
    if spec.delivery is not None:
        yield from under("spec.delivery", delivery(spec.delivery))
    if old is not None:
        if spec.config != old.spec.config:
            before, after = (msgspec.structs.replace(each.spec, delivery=None) for each in (old, new))
            yield other(_CHANGED, "spec", details=difference(before, after))
        yield from _same(BROKER_CLASS, old.metadata.annotations.get(BROKER_CLASS, "") or class_, class_)
        if is_kafka(class_):  # its events and its triggers' progress are in that topic
            was, is_ = (each.metadata.annotations.get(EXTERNAL_TOPIC, "") for each in (old, new))
            yield from _same(EXTERNAL_TOPIC, was, is_)


def _same(annotation: str, was: str, is_: str) -> Iterator[FieldError]:
    if was != is_:
        details = f"{annotation}:\n\t-: {was or '<absent>'}\n\t+: {is_ or '<absent>'}\n"
        yield other("Immutable annotations changed (-old +new)", "metadata.annotations", details=details)


def trigger(new: Trigger, old: Trigger | None) -> Iterator[FieldError]:
    meta, spec = new.metadata, new.spec
    yield from under("metadata", name(meta))
    yield from under("spec", _broker_of(spec, meta.namespace))
    yield from under("spec", _filters(spec))
    yield from under("spec.subscriber", destination(spec.subscriber))
    if spec.delivery is not None:
        yield from under("spec.delivery", delivery(spec.delivery))
    yield from under("metadata.annotations", _annotations(meta.annotations, spec, meta.namespace))
    if old is not None:
        yield from as_warnings(_started(meta.annotations.get(annotated.START), old))
    if old is not None and (spec.broker, spec.broker_ref) != (old.spec.broker, old.spec.broker_ref):
        details = difference(_only_broker(old.spec), _only_broker(spec))
        yield other(_CHANGED, "spec.broker", details=details)


def _started(start: str | None, old: Trigger) -> Iterator[FieldError]:
    if STARTED_AT in old.status.annotations and start != old.metadata.annotations.get(annotated.START):
        sentence = "it has begun to read, so this has no effect: `dataplane events replay` lets it read again"
        yield other(sentence, f"metadata.annotations[{annotated.START}]")


def _only_broker(spec: TriggerSpec) -> TriggerSpec:
    return TriggerSpec(broker=spec.broker, broker_ref=spec.broker_ref)


def _broker_of(spec: TriggerSpec, namespace: str) -> Iterator[FieldError]:
    ref = spec.broker_ref
    if spec.broker and ref is not None:
        yield several_of("broker", "brokerRef")
    elif not spec.broker and ref is None:
        yield missing("broker")
    elif ref is not None:
        yield from under("brokerRef", reference(ref))
        if ref.namespace not in ("", namespace):
            yield disallowed("brokerRef.namespace")
        if ref.kind and ref.kind != "Broker":
            yield invalid(ref.kind, "brokerRef.kind", "Broker is needed")


def _filters(spec: TriggerSpec) -> Iterator[FieldError]:
    found = mistakes(spec.filters, "filters")
    if spec.filter is not None:
        found += attribute_mistakes(spec.filter.attributes, "filter.attributes")
    for mistake in found:
        yield other(mistake.message, mistake.path, details=mistake.details)
    if not found:
        for path, sentence in warnings(spec.filters, "filters"):
            yield from as_warnings([other(sentence, path)])
        if spec.filters and spec.filter is not None and spec.filter.attributes:
            yield from as_warnings([other("not looked at: spec.filters replaces it", "filter.attributes")])


def _annotations(annotations: Mapping[str, str], spec: TriggerSpec, namespace: str) -> Iterator[FieldError]:
    """Paths are relative to metadata.annotations."""
    yield from _strange(annotations, annotated.READERS, f"there is {', '.join(annotated.READERS)}")
    for key, read in annotated.READERS.items():
        if key in annotations:
            try:
                read({key: annotations[key]})
            except ValueError as fault:
                yield invalid(annotations[key], f"[{key}]", str(fault))
    if DEPENDENCY in annotations:
        yield from under(f"[{DEPENDENCY}]", _dependency(annotations[DEPENDENCY], namespace))
    injection = annotations.get(INJECTION)
    if injection is not None:
        if injection not in ("enabled", "disabled"):
            yield other(
                f'The provided injection annotation value can only be "enabled" or "disabled", not "{injection:.100}"',
                f"[{INJECTION}]",
            )
        elif spec.broker != "default":
            yield other(
                "The provided injection annotation is only used for default broker, but non-default broker specified "
                f'here: "{spec.broker:.100}"',
                f"[{INJECTION}]",
            )


def _strange(annotations: Mapping[str, str], known: Collection[str], right: str) -> Iterator[FieldError]:
    """Keys under our prefix that mean nothing: order or a limit that is misspelled would be silently not there."""
    names = [key.removeprefix(annotated.PREFIX) for key in known if key.startswith(annotated.PREFIX)]
    for key in annotations:
        if key.startswith(annotated.PREFIX) and key not in known:
            near = close_to(key.removeprefix(annotated.PREFIX), names)
            yield invalid_key(key, "", f'did you mean "{annotated.PREFIX}{near}"?' if near else right)


class _ObjectReference(msgspec.Struct, rename="camel"):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    api_version: str = ""


def _dependency(text: str, namespace: str) -> Iterator[FieldError]:
    try:
        ref = msgspec.json.decode(text, type=_ObjectReference)
    except (msgspec.DecodeError, RecursionError) as fault:
        message = f'The provided annotation was not a corev1.ObjectReference: "{text:.200}"'
        yield other(message, details=str(fault))
        return
    if ref.namespace not in ("", namespace):
        yield other(f'Namespace must be empty or equal to the trigger namespace "{namespace}"', "namespace")
    absent = [
        wire for wire, value in (("kind", ref.kind), ("name", ref.name), ("apiVersion", ref.api_version)) if not value
    ]
    if absent:
        yield missing(*absent)
