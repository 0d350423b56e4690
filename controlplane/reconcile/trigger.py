"""Trigger → where its events go, what it waits for, and whether they are sure to come.

Path: api → store → [trigger] → status → compile_eventing.py → broker processes → brokerdesk.py → [trigger] → Ready.

A Trigger may exist before its Broker. One that cannot be resolved is not sent anything and disturbs no other (§12.5).
Ready is only said when a broker process says that its subscription stands; where it began to read is in
status.annotations.

Source: spec/eventing.md §10.4, §10.5, §12.4–12.8.
"""

from msgspec.structs import replace

from controlplane.admission import defaults_eventing
from controlplane.reconcile.conditions import READY, Conditions
from controlplane.reconcile.destination import Unresolved, broker_key, dependency, key_of, resolve
from controlplane.reconcile.outcome import Note, Outcome, create, update
from controlplane.reconcile.view import View
from dataplane.resources.eventing import (
    INJECTION,
    STARTED_AT,
    Addressable,
    Broker,
    Trigger,
    TriggerStatus,
)
from dataplane.resources.meta import ObjectMeta, condition

BROKER_READY = "BrokerReady"
SUBSCRIPTION = "SubscriptionReady"
DEPENDENCY_READY = "DependencyReady"
SUBSCRIBER = "SubscriberResolved"
SINK = "DeadLetterSinkResolved"
IDENTITY = "OIDCIdentityCreated"


def reconcile(trigger: Trigger, view: View, now: float) -> Outcome:
    meta = trigger.metadata
    marks = Conditions(
        trigger.status.conditions,
        (BROKER_READY, SUBSCRIPTION, DEPENDENCY_READY, SUBSCRIBER, SINK, IDENTITY),
        now,
        new_generation=trigger.status.observed_generation != meta.generation,
    )
    found = view.get(broker_key(trigger))
    broker = found if isinstance(found, Broker) else None
    marks.true(IDENTITY, "authentication-oidc feature disabled")
    _dependency(trigger, view, marks)
    status = _subscriber(trigger, view, marks)
    status = _dead_letter(trigger, broker, status, view, marks)
    status = _subscription(trigger, status, view, marks, afresh=broker is None)
    outcome = _broker(trigger, broker, view, marks)
    status = replace(status, conditions=marks.close(), observed_generation=meta.generation)
    return Outcome((*outcome.writes, *update(trigger, replace(trigger, status=status))), outcome.events)


def _broker(trigger: Trigger, broker: Broker | None, view: View, marks: Conditions) -> Outcome:
    name = broker_key(trigger).name
    if broker is None:
        marks.false(BROKER_READY, "BrokerDoesNotExist", f'Broker "{name}" does not exist')
        if trigger.metadata.annotations.get(INJECTION) == "enabled" and name == "default":
            return _injected(trigger, view)
        return Outcome()
    ready = condition(broker.status.conditions, READY)
    if ready is None or (broker.status.observed_generation != broker.metadata.generation and ready.status == "True"):
        marks.unknown(BROKER_READY, "BrokerNotConfigured", "Broker has not yet been reconciled.")
    else:
        marks.follow(BROKER_READY, ready)
    return Outcome()


def _injected(trigger: Trigger, view: View) -> Outcome:
    """The default Broker of the namespace, made because a Trigger asks for it (spec §12.6)."""
    bare = Broker(metadata=ObjectMeta(name="default", namespace=trigger.metadata.namespace))
    made = defaults_eventing.broker(bare, None, view.config.brokers)
    return Outcome((create(made),), (Note(trigger, "Normal", "BrokerInjected", 'Created Broker "default"'),))


def _dependency(trigger: Trigger, view: View, marks: Conditions) -> None:
    ref = dependency(trigger)
    if ref is None:
        marks.true(DEPENDENCY_READY)
        return
    key = key_of(ref, trigger.metadata.namespace)
    found = view.get(key)
    if found is None:
        marks.false(DEPENDENCY_READY, "DependencyDoesNotExist", f"Dependency does not exist: {ref.kind} {key.name}")
        return
    status = getattr(found, "status", None)
    if getattr(status, "observed_generation", 0) != found.metadata.generation:
        message = f"The dependency's observed generation is behind: {ref.kind} {key.name}"
        marks.unknown(DEPENDENCY_READY, "GenerationNotEqual", message)
        return
    marks.follow(DEPENDENCY_READY, condition(getattr(status, "conditions", ()), READY))


def _subscriber(trigger: Trigger, view: View, marks: Conditions) -> TriggerStatus:
    try:
        address = resolve(trigger.spec.subscriber, trigger.metadata.namespace, view)
        marks.true(SUBSCRIBER)
    except Unresolved as fault:
        address = Addressable()
        marks.false(SUBSCRIBER, "Unable to get the Subscriber's URI", str(fault))
    return replace(
        trigger.status,
        subscriber_uri=address.url,
        subscriber_ca_certs=address.ca_certs,
        subscriber_audience=address.audience,
    )


def _dead_letter(
    trigger: Trigger, broker: Broker | None, status: TriggerStatus, view: View, marks: Conditions
) -> TriggerStatus:
    """The Trigger's own, else the Broker's, whatever else either says about delivery (spec §10.4)."""
    sink = trigger.spec.delivery.dead_letter_sink if trigger.spec.delivery is not None else None
    address = Addressable()
    if sink is not None:
        try:
            address = resolve(sink, trigger.metadata.namespace, view)
            marks.true(SINK)
        except Unresolved as fault:
            marks.false(SINK, "Unable to get the dead letter sink's URI", str(fault))
    elif broker is not None and broker.spec.delivery is not None and broker.spec.delivery.dead_letter_sink is not None:
        address = Addressable(
            url=broker.status.dead_letter_sink_uri,
            ca_certs=broker.status.dead_letter_sink_ca_certs,
            audience=broker.status.dead_letter_sink_audience,
        )
        if address.url:
            marks.true(SINK)
        else:
            marks.false(SINK, "Unable to get the dead letter sink's URI", "the Broker's is not resolved")
    else:
        marks.true(SINK, "DeadLetterSinkNotConfigured", "No dead letter sink is configured.")
    return replace(
        status,
        dead_letter_sink_uri=address.url,
        dead_letter_sink_ca_certs=address.ca_certs,
        dead_letter_sink_audience=address.audience,
    )


def _subscription(
    trigger: Trigger, status: TriggerStatus, view: View, marks: Conditions, *, afresh: bool
) -> TriggerStatus:
    """`afresh`: its progress went with its Broker. Else it began once: a process that starts again goes on."""
    meta = trigger.metadata
    if afresh:
        status = replace(status, annotations={k: v for k, v in status.annotations.items() if k != STARTED_AT})
    said = view.facts.reported("trigger", f"{meta.namespace}/{meta.name}")
    if said is None or said.uid not in ("", meta.uid) or not status.subscriber_uri:
        marks.unknown(SUBSCRIPTION, "SubscriptionNotConfigured", "No broker process has subscribed it yet.")
    elif said.ready:
        marks.true(SUBSCRIPTION)
        if said.start and not afresh and STARTED_AT not in status.annotations:
            status = replace(status, annotations={**status.annotations, STARTED_AT: said.start})
    else:
        marks.false(SUBSCRIPTION, said.reason or "NotSubscribed", said.message)
    return status
