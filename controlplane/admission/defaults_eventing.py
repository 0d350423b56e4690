"""What a Broker or Trigger gets that its author did not say. Pure.

Path: admit.py, reconcile/trigger.py (an injected Broker) → [defaults_eventing] → validate_eventing.py.

An update that leaves out class or configuration keeps what is stored: they cannot change, and `kubectl replace` of the
manifest that made the Broker is no attempt to.

Source: spec/eventing.md §9.5, §10.5, §12.1, §12.4.
"""

from msgspec.structs import replace

from controlplane.broker_defaults import BrokerDefaults
from dataplane.resources.eventing import (
    BROKER_CLASS,
    BROKER_LABEL,
    Broker,
    DeliverySpec,
    Destination,
    Trigger,
    TriggerFilter,
)


def broker(new: Broker, old: Broker | None, defaults: BrokerDefaults) -> Broker:
    meta, spec, namespace = new.metadata, new.spec, new.metadata.namespace
    class_ = meta.annotations.get(BROKER_CLASS, "")
    if not class_:
        stored = old.metadata.annotations.get(BROKER_CLASS, "") if old is not None else ""
        class_ = stored or defaults.broker_class(namespace)
        meta = replace(meta, annotations={**meta.annotations, BROKER_CLASS: class_})
    config = spec.config
    if config is None:
        config = old.spec.config if old is not None else defaults.config(namespace, class_)
    if config is not None and not config.namespace:
        config = replace(config, namespace=namespace)
    given = spec.delivery if spec.delivery is not None else defaults.delivery(namespace, class_)
    return replace(new, metadata=meta, spec=replace(spec, config=config, delivery=delivery(given, namespace)))


def trigger(new: Trigger) -> Trigger:
    meta, spec = new.metadata, new.spec
    name = spec.broker or (spec.broker_ref.name if spec.broker_ref is not None else "")
    if name and meta.labels.get(BROKER_LABEL) != name:
        meta = replace(meta, labels={**meta.labels, BROKER_LABEL: name})
    return replace(
        new,
        metadata=meta,
        spec=replace(
            spec,
            filter=spec.filter if spec.filter is not None else TriggerFilter(),
            subscriber=destination(spec.subscriber, meta.namespace),
            delivery=delivery(spec.delivery, meta.namespace),
        ),
    )


def delivery(spec: DeliverySpec | None, namespace: str) -> DeliverySpec | None:
    if spec is None or spec.dead_letter_sink is None:
        return spec
    return replace(spec, dead_letter_sink=destination(spec.dead_letter_sink, namespace))


def destination(one: Destination, namespace: str) -> Destination:
    """A reference without a namespace means the owner's."""
    if one.ref is None or one.ref.namespace:
        return one
    return replace(one, ref=replace(one.ref, namespace=namespace))
