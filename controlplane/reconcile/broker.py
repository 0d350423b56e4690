"""Broker → an address, its store's configuration, and whether events are accepted under it.

Path: api → store → [broker] → status → compile_eventing.py → broker processes → brokerdesk.py → [broker] → Ready.

What was read from the Broker's ConfigMap is kept in status.annotations: a ConfigMap that is gone or broken changes a
condition, not a running store. Conditions have Knative's names for the class; there are no channels and no topic
controller here, so that of the store stands for them.

Source: spec/eventing.md §12.1–12.3, §28.1, §28.9.
"""

from msgspec.structs import replace

from controlplane.broker_config import DURABILITY, StoreConfig, read_store, written
from controlplane.broker_defaults import CHANNEL_DEFAULT, CLASSES, NAMESPACE, is_kafka
from controlplane.compile_eventing import credentials
from controlplane.reconcile.conditions import Conditions
from controlplane.reconcile.destination import Unresolved, key_of, resolve
from controlplane.reconcile.outcome import NOTHING, Outcome, update
from controlplane.reconcile.view import View
from dataplane.errors import ConfigFault
from dataplane.resources.core import ConfigMap
from dataplane.resources.eventing import BROKER_CLASS, Addressable, Broker, BrokerStatus
from dataplane.resources.triggers import Reported

ADDRESSABLE = "Addressable"
SINK = "DeadLetterSinkResolved"
POLICIES = "EventPoliciesReady"
INGRESS, CHANNEL, FILTER = "IngressReady", "TriggerChannelReady", "FilterReady"
DATA_PLANE, TOPIC, UPDATED, PARSED, PROBE = (
    "DataPlaneAvailable",
    "TopicReady",
    "ConfigMapUpdated",
    "ConfigParsed",
    "ProbeSucceeded",
)
_OF_CHANNELS = (INGRESS, CHANNEL, FILTER, ADDRESSABLE, SINK, POLICIES)
_OF_KAFKA = (ADDRESSABLE, DATA_PLANE, TOPIC, UPDATED, PARSED, PROBE, POLICIES)


def reconcile(broker: Broker, view: View, now: float) -> Outcome:
    meta = broker.metadata
    class_ = meta.annotations.get(BROKER_CLASS, "")
    if class_ not in CLASSES:
        return NOTHING  # somebody else's, as in Knative
    kafka = is_kafka(class_)
    marks = Conditions(
        broker.status.conditions,
        _OF_KAFKA if kafka else _OF_CHANNELS,
        now,
        new_generation=broker.status.observed_generation != meta.generation,
    )
    status = _configured(broker, class_, view, marks)
    status = _addressed(broker, status, view, marks)
    status = _dead_letter(broker, status, view, marks)
    marks.true(POLICIES, "OIDCDisabled", 'Feature "authentication-oidc" must be enabled to support Authorization')
    said = view.facts.reported("broker", f"{meta.namespace}/{meta.name}")
    if said is not None and said.uid not in ("", meta.uid):
        said = None
    (_stands_on_kafka if kafka else _stands)(said, status, marks)
    if said is not None:
        durability = {DURABILITY: said.durability} if said.durability else {}
        status = replace(status, annotations={**status.annotations, **said.shown, **durability})
    status = replace(status, conditions=marks.close(), observed_generation=meta.generation)
    return Outcome(update(broker, replace(broker, status=status)))


def _configured(broker: Broker, class_: str, view: View, marks: Conditions) -> BrokerStatus:
    """With what the ConfigMap says now; what it said before when it cannot be read."""
    kafka = is_kafka(class_)
    try:
        found = _read(broker, class_, view)
    except (ConfigFault, Unresolved) as fault:
        marks.false(PARSED if kafka else CHANNEL, "ConfigMapInvalid" if kafka else "ChannelTemplateFailed", str(fault))
        return broker.status
    status = replace(broker.status, annotations=written(found, class_))
    secret = credentials(replace(broker, status=status))
    if kafka and secret is not None and view.get(secret) is None:
        marks.false(PARSED, "SecretNotFound", f'Secret "{secret.namespace}/{secret.name}" not found')
    elif kafka:
        marks.true(PARSED)
        marks.true(UPDATED)
    else:
        marks.unknown(CHANNEL, "ChannelNotReady", "The store has not been opened yet.")
    return status


def _read(broker: Broker, class_: str, view: View) -> StoreConfig:
    ref = broker.spec.config
    if ref is None:
        return StoreConfig()
    if (ref.api_version, ref.kind) != ("v1", "ConfigMap"):
        raise Unresolved(f"spec.config must name a ConfigMap, not {ref.kind} of {ref.api_version}")
    key = key_of(ref, broker.metadata.namespace)
    found = view.get(key)
    if isinstance(found, ConfigMap):
        return read_store(found.data, class_)
    if (key.namespace, key.name) == (NAMESPACE, CHANNEL_DEFAULT):
        return StoreConfig()  # every Knative manifest names it; channels are all that it speaks of
    raise Unresolved(f'ConfigMap "{key.namespace}/{key.name}" not found')


def _addressed(broker: Broker, status: BrokerStatus, view: View, marks: Conditions) -> BrokerStatus:
    """Nothing has an address that never had a configuration: nobody would keep the events."""
    known = marks[CHANNEL].reason != "ChannelTemplateFailed" and marks[PARSED].status != "False"
    if not view.facts.broker_url:
        marks.false(ADDRESSABLE, "NoAddress", "No broker ingress runs here.")
        return replace(status, address=None, addresses=())
    if not known and broker.status.address is None:
        marks.unknown(ADDRESSABLE, "NoAddress", "The configuration could not be read yet.")
        return status
    url = f"{view.facts.broker_url}/{broker.metadata.namespace}/{broker.metadata.name}"
    address = Addressable(name=url.partition(":")[0], url=url)
    marks.true(ADDRESSABLE)
    return replace(status, address=address, addresses=(address,))


def _dead_letter(broker: Broker, status: BrokerStatus, view: View, marks: Conditions) -> BrokerStatus:
    """Ready does not count it in the classes of Kafka: there it is for people."""
    sink = broker.spec.delivery.dead_letter_sink if broker.spec.delivery is not None else None
    address = Addressable()
    if sink is None:
        marks.true(SINK, "DeadLetterSinkNotConfigured", "No dead letter sink is configured.")
    else:
        try:
            address = resolve(sink, broker.metadata.namespace, view)
            marks.true(SINK)
        except Unresolved as fault:
            marks.false(SINK, "Unable to get the dead letter sink's URI", str(fault))
    return replace(
        status,
        dead_letter_sink_uri=address.url,
        dead_letter_sink_ca_certs=address.ca_certs,
        dead_letter_sink_audience=address.audience,
    )


def _stands(said: Reported | None, status: BrokerStatus, marks: Conditions) -> None:
    if status.address is None:
        marks.unknown(INGRESS, "EndpointSlicesUnavailable", "No broker ingress serves this Broker.")
        marks.unknown(FILTER, "EndpointSlicesUnavailable", "No broker ingress serves this Broker.")
    elif said is None:
        marks.unknown(INGRESS, "EndpointSlicesUnavailable", "No broker process has answered yet.")
        marks.unknown(FILTER, "EndpointSlicesUnavailable", "No broker process has answered yet.")
    else:
        marks.true(INGRESS)
        marks.true(FILTER)
    if marks[CHANNEL].status == "False" or said is None:
        return
    if said.ready:
        marks.true(CHANNEL)
    else:
        marks.false(CHANNEL, said.reason or "ChannelNotReady", said.message)


def _stands_on_kafka(said: Reported | None, status: BrokerStatus, marks: Conditions) -> None:
    if said is None:
        for type_ in (DATA_PLANE, TOPIC, PROBE):
            marks.unknown(type_, "NoAnswer", "No broker process has answered yet.")
        return
    marks.true(DATA_PLANE)
    if said.ready:
        marks.true(TOPIC)
        marks.true(PROBE)
    elif marks[PARSED].status == "False":
        for type_ in (TOPIC, PROBE):
            marks.unknown(type_, "ConfigNotParsed", "There is no configuration to open it with yet.")
    else:
        marks.false(TOPIC, said.reason or "TopicNotReady", said.message)
        marks.unknown(PROBE, "TopicNotReady", said.message)
