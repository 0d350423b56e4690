"""Broker and Trigger → what broker processes must know of them: resolved, merged, as numbers. Pure.

Path: publish.py → [compile_eventing] → dataplane/resources/triggers.py → broker/service.py.

Compiled from status as far as it holds what was resolved, so that what cannot be read or resolved now changes nothing
that runs, over restarts too. A Trigger that never had a subscriber is not there yet; a Broker that never had a
configuration, or whose Secret is missing, waits for it.

Source: spec/eventing.md §8.1, §10.4, §12.
"""

from typing import NamedTuple, cast
from urllib.parse import urlsplit

from msgspec.structs import replace

from controlplane import delivery
from controlplane.broker_config import EXTERNAL_TOPIC, STORE, from_written, read_secret, secret_key
from controlplane.broker_defaults import CLASSES, is_kafka
from controlplane.knative_settings import CLUSTER_DOMAIN
from controlplane.store.contract import Key
from dataplane.errors import ConfigFault
from dataplane.resources import eventing
from dataplane.resources.core import Secret
from dataplane.resources.triggers import Broker, Target, Trigger

_NOWHERE = "http://not-resolved.invalid/"  # RFC 6761 §6.4


def credentials(one: eventing.Broker) -> Key | None:
    """The Secret that the Broker's store needs; None without one."""
    config = one.spec.config
    namespace = config.namespace if config is not None and config.namespace else one.metadata.namespace
    return secret_key(one.status.annotations, namespace)


def broker(one: eventing.Broker, secret: Secret | None = None) -> Broker | None:
    """`secret`: what `credentials` names. None: somebody else's class."""
    meta, status = one.metadata, one.status
    class_ = meta.annotations.get(eventing.BROKER_CLASS, "")
    if class_ not in CLASSES:
        return None
    waits_for = _missing(one, secret)
    if waits_for:
        return Broker(
            namespace=meta.namespace, name=meta.name, uid=meta.uid, store=CLASSES[class_], waits_for=waits_for
        )
    found = from_written(status.annotations)
    external = meta.annotations.get(EXTERNAL_TOPIC, "")
    return Broker(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        store=CLASSES[class_],
        settings=found.settings,
        config={**found.config, EXTERNAL_TOPIC: external} if external and is_kafka(class_) else found.config,
        secret=read_secret(secret.data) if secret is not None else {},
    )


def _missing(one: eventing.Broker, secret: Secret | None) -> str:
    """What the Broker cannot be opened without; "" when there is all of it."""
    if STORE not in one.status.annotations:
        return "its configuration could not be read yet"
    key = credentials(one)
    return f'Secret "{key.namespace}/{key.name}" not found' if key is not None and secret is None else ""


class Doors(NamedTuple):
    """cluster_local: `HOST:PORT` that serves cluster-local names. brokers: URL of the ingress, without a path."""

    cluster_local: str = ""
    brokers: str = ""


def trigger(one: eventing.Trigger, of: eventing.Broker, doors: Doors = Doors()) -> Trigger | None:
    """None: its subscriber is not resolved.

    Raises ConfigFault: an annotation or duration that admission refuses.
    """
    meta, spec, status = one.metadata, one.spec, one.status
    if not status.subscriber_uri:
        return None
    annotations = meta.annotations
    try:
        return Trigger(
            namespace=meta.namespace,
            name=meta.name,
            broker=of.metadata.name,
            uid=meta.uid,
            subscriber=_target(status.subscriber_uri, status.subscriber_ca_certs, status.subscriber_audience, doors),
            filters=filters(spec),
            dead_letter=_dead_letter(status, doors),
            delivery=delivery.policy(spec.delivery if spec.delivery is not None else of.spec.delivery, annotations),
            ordered=delivery.ordered(annotations),
            max_in_flight=delivery.max_in_flight(annotations),
            rate_per_s=delivery.rate_per_s(annotations),
            start=delivery.start(annotations),
            paused=delivery.paused(annotations),
        )
    except ValueError as fault:
        raise ConfigFault(str(fault)) from None


def waiting(one: eventing.Trigger, of: eventing.Broker) -> Trigger | None:
    """A Trigger that has begun and whose subscriber is not resolved: what it has not got and what it gave up stay, and
    can be looked at. None: it never began. Raises ConfigFault."""
    if eventing.STARTED_AT not in one.status.annotations:
        return None
    somewhere = replace(one, status=replace(one.status, subscriber_uri=_NOWHERE))
    made = trigger(somewhere, of)
    return replace(made, paused=True) if made is not None else None


def filters(spec: eventing.TriggerSpec) -> tuple[dict[str, object], ...]:
    """spec.filters replaces spec.filter when there are any (spec §8.1)."""
    if spec.filters:
        return spec.filters
    if spec.filter is None or not spec.filter.attributes:
        return ()
    return ({"attributes": cast(dict[str, object], spec.filter.attributes)},)


def _dead_letter(status: eventing.TriggerStatus, doors: Doors) -> Target | None:
    if not status.dead_letter_sink_uri:
        return None
    return _target(
        status.dead_letter_sink_uri, status.dead_letter_sink_ca_certs, status.dead_letter_sink_audience, doors
    )


def _target(url: str, ca_certs: str, audience: str, doors: Doors) -> Target:
    host = urlsplit(url).hostname or ""
    via = doors.cluster_local if host.endswith(f".svc.{CLUSTER_DOMAIN}") else ""
    broker = bool(doors.brokers) and url.startswith(f"{doors.brokers}/")
    return Target(url=url, via=via, broker=broker, ca_certs=ca_certs, audience=audience)
