"""A Destination → the URL that events are sent to; which objects a Broker or Trigger depends on. Pure.

Path: broker.py, trigger.py → [destination] → view.py.

A reference is resolved against the store: any kind with a `status.address.url`. A `v1` Service is no object here but a
name that the cluster-local gateway or DNS knows.

Source: spec/eventing.md §10.5, §12.6.
"""

from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urljoin

import msgspec

from controlplane.broker_config import secret_key
from controlplane.knative_settings import CLUSTER_DOMAIN
from controlplane.store.contract import Key
from dataplane.resources.eventing import (
    DEPENDENCY,
    Addressable,
    Broker,
    DeliverySpec,
    Destination,
    KReference,
    Trigger,
)
from dataplane.resources.eventing import GROUP as EVENTING
from dataplane.resources.kinds import BY_KIND
from dataplane.resources.meta import Resource


class Unresolved(Exception):
    """The message says what is missing."""


class Objects(Protocol):
    """The store, as far as it is asked (view.View)."""

    def get(self, key: Key) -> Resource | None: ...


def resolve(one: Destination, namespace: str, objects: Objects) -> Addressable:
    """Raises Unresolved. `namespace`: of the owner, for a reference that names none."""
    if one.ref is None:
        if not one.uri:
            raise Unresolved("destination missing Ref and URI, expected at least one")
        return Addressable(url=one.uri, ca_certs=one.ca_certs, audience=one.audience)
    found = _address(one.ref, namespace, objects)
    url = urljoin(found.url, one.uri) if one.uri else found.url
    return Addressable(
        url=url, ca_certs=one.ca_certs or found.ca_certs, audience=one.audience or found.audience, name=found.name
    )


def _address(ref: KReference, namespace: str, objects: Objects) -> Addressable:
    namespace = ref.namespace or namespace
    if (ref.api_version, ref.kind) == ("v1", "Service"):
        return Addressable(url=f"http://{ref.name}.{namespace}.svc.{CLUSTER_DOMAIN}/")
    key = key_of(ref, namespace)
    if (key.group, key.kind) not in BY_KIND:
        raise Unresolved(f"no kind {ref.kind} in {ref.api_version} is served here")
    found = objects.get(key)
    if found is None:
        raise Unresolved(f'{ref.kind} "{namespace}/{ref.name}" not found')
    address = _of_status(found, ref.address)
    if address is None:
        raise Unresolved(
            f'{ref.kind} "{namespace}/{ref.name}" has no address{" " + ref.address if ref.address else ""} yet'
        )
    return address


def _of_status(found: Resource, name: str) -> Addressable | None:
    status = getattr(found, "status", None)
    if name:
        return next((one for one in getattr(status, "addresses", ()) if one.name == name), None)
    address = getattr(status, "address", None)
    if address is None or not address.url:
        return None
    if isinstance(address, Addressable):
        return address
    return Addressable(url=address.url)


def key_of(ref: KReference, namespace: str) -> Key:
    """Where a reference points. `namespace`: of whoever refers."""
    group = ref.api_version.rpartition("/")[0]
    return Key(group, ref.kind, ref.namespace or namespace, ref.name)


def dependency(trigger: Trigger) -> KReference | None:
    """What its annotation waits for; None without it, or when it cannot be read (admission refuses that)."""
    text = trigger.metadata.annotations.get(DEPENDENCY)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=KReference)
    except msgspec.DecodeError:
        return None


def broker_key(trigger: Trigger) -> Key:
    ref = trigger.spec.broker_ref
    name = trigger.spec.broker or (ref.name if ref is not None else "")
    return Key(EVENTING, "Broker", trigger.metadata.namespace, name)


def wanted_by(one: Broker | Trigger) -> set[Key]:
    """Objects whose change may change what becomes of this one."""
    return set(_wanted_by(one, one.metadata.namespace))


def _wanted_by(one: Broker | Trigger, namespace: str) -> Iterator[Key]:
    yield from _sink(one.spec.delivery, namespace)
    if isinstance(one, Broker):
        if one.spec.config is not None:
            yield key_of(one.spec.config, namespace)
            secret = secret_key(one.status.annotations, one.spec.config.namespace or namespace)
            if secret is not None:
                yield secret
        return
    yield broker_key(one)
    if one.spec.subscriber.ref is not None:
        yield key_of(one.spec.subscriber.ref, namespace)
    waits_for = dependency(one)
    if waits_for is not None:
        yield key_of(waits_for, namespace)


def _sink(delivery: DeliverySpec | None, namespace: str) -> Iterator[Key]:
    if delivery is not None and delivery.dead_letter_sink is not None and delivery.dead_letter_sink.ref is not None:
        yield key_of(delivery.dead_letter_sink.ref, namespace)
