"""kubectl and Brokers: apply, get, describe, explain, wait; with the control plane and a broker process's parts at work."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from broker.service import BrokerService
from broker.settings import BrokerSettings
from broker.store.memory import MemoryStore as EventMemory
from controlplane.control import Control, Place
from controlplane.store.contract import Key, Put
from dataplane.clock import SYSTEM
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta
from dataplane.telemetry.metrics import Registry

BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: default
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: config-br-default-channel, namespace: knative-eventing}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: orders
spec:
  broker: default
  filters:
  - any:
    - exact: {type: dev.example.order}
    - cesql: "type LIKE 'dev.example.refund%' AND EXISTS subject"
  subscriber:
    uri: http://127.0.0.1:9/orders
"""


class Deaf:
    """A runner that never has room: subscriptions are what is asked about here."""

    ordered = False
    interest = None

    def __init__(self, trigger) -> None:
        self.key, self.name = trigger.uid, f"{trigger.namespace}/{trigger.name}"

    def matches(self, event) -> bool:
        return False

    def room(self) -> int:
        return 0

    def fresh(self) -> int:
        return self.room()

    def revoked(self) -> None:
        """It goes on with what it has."""

    def deliver(self, batch) -> None:
        raise AssertionError("no room")

    def attach(self, subscription) -> None: ...

    def update(self, trigger, filter) -> None: ...

    async def drain(self, deadline: float) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
async def eventing(kubectl) -> AsyncIterator[None]:
    """Reconcilers and a BrokerService with the memory store, over the store that the API writes."""
    meta = ObjectMeta(name="knative-eventing", uid="ke", creation_timestamp="2026-11-22T10:00:00Z")
    await kubectl.store.commit([Put(Key("", "Namespace", "", "knative-eventing"), core.Namespace(metadata=meta), "")])
    loop, registry = asyncio.get_running_loop(), Registry()
    control = Control(
        store=kubectl.store,
        loop=loop,
        clock=SYSTEM,
        registry=registry,
        place=Place(broker_url="http://127.0.0.1:8082"),
        in_flight=lambda _: None,
    )
    service = BrokerService(
        settings=BrokerSettings(store="memory"),
        make_store=lambda kind: EventMemory(clock=SYSTEM, registry=registry),
        make_runner=lambda trigger, filter, broker: Deaf(trigger),
        clock=SYSTEM,
        registry=registry,
        report=control.brokers.report,
    )
    control.publisher.subscribe(service.apply)
    control.open()
    yield
    await service.drain()
    await control.close()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_apply_wait_get_describe_delete(kubectl, eventing) -> None:
    manifest = kubectl.file(BROKER)
    assert (await kubectl("apply", "-f", manifest)).splitlines() == [
        "broker.eventing.knative.dev/default created",
        "trigger.eventing.knative.dev/orders created",
    ]
    await kubectl("wait", "--for=condition=Ready", "broker/default", "trigger/orders", "--timeout=20s")

    header, row = rows(await kubectl("get", "broker"))
    assert header == ["NAME", "URL", "AGE", "READY", "REASON"]
    assert (row[0], row[1], row[3]) == ("default", "http://127.0.0.1:8082/default/default", "True")
    header, row = rows(await kubectl("get", "brokers", "-o", "wide"))
    assert (header[-1], row[-1]) == ("CLASS", "MTChannelBasedBroker")
    header, row = rows(await kubectl("get", "trigger"))
    assert header == ["NAME", "BROKER", "SUBSCRIBER_URI", "AGE", "READY", "REASON"]
    assert (row[0], row[1], row[2], row[4]) == ("orders", "default", "http://127.0.0.1:9/orders", "True")
    for category in ("knative", "eventing", "all"):
        names = (await kubectl("get", category, "-o", "name")).split()
        assert {"broker.eventing.knative.dev/default", "trigger.eventing.knative.dev/orders"} <= set(names)
    assert (await kubectl("get", "trigger", "-l", "eventing.knative.dev/broker=default", "-o", "name")).split()

    text = await kubectl("describe", "trigger", "orders")
    for word in ("SubscriptionReady", "delivery.dataplane.dev/started-at", "dev.example.order", "Subscriber Uri"):
        assert word in text, text
    assert "unchanged" in await kubectl("apply", "-f", manifest)

    assert 'broker.eventing.knative.dev "default" deleted' in await kubectl("delete", "broker", "default")
    await kubectl("wait", "--for=condition=BrokerReady=False", "trigger/orders", "--timeout=20s")
    _, row = rows(await kubectl("get", "trigger"))
    assert row[-2:] == ["False", "BrokerDoesNotExist"]


async def test_a_bad_trigger_does_not_disturb_a_good_one(kubectl, eventing) -> None:
    await kubectl("apply", "-f", kubectl.file(BROKER))
    bad = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: bad}
spec:
  broker: default
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: nobody}}
"""
    await kubectl("apply", "-f", kubectl.file(bad, "bad.yaml"))
    await kubectl("wait", "--for=condition=SubscriberResolved=False", "trigger/bad", "--timeout=20s")
    await kubectl("wait", "--for=condition=Ready", "trigger/orders", "--timeout=20s")
    reason = "jsonpath={.status.conditions[?(@.type=='Ready')].message}"
    assert await kubectl("get", "trigger", "bad", "-o", reason) == 'Service "default/nobody" not found'


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("exact: {type: dev.example.order}|exact: {Type: a}", 'invalid key name "Type": spec.filters[0].any[0].exact'),
        (
            "exact: {type: dev.example.order}|exakt: {type: a}",
            'unknown filter dialect "exakt": spec.filters[0].any[0].exakt',
        ),
        ("AND EXISTS subject|AND", "spec.filters[0].any[1].cesql"),
        ("uri: http://127.0.0.1:9/orders|uri: /orders", "invalid value: /orders: spec.subscriber.uri"),
        ("broker: default|brokr: default", 'unknown field "spec.brokr"'),
    ],
)
async def test_bad_input_is_refused_with_its_path(kubectl, change, error) -> None:
    before, _, after = change.partition("|")
    result = await kubectl.run("apply", "-f", kubectl.file(BROKER.replace(before, after)))
    assert result.code != 0
    assert error in result.err


async def test_what_may_not_be_meant_is_a_warning(kubectl) -> None:
    mixed = BROKER.replace("AND EXISTS subject", "AND EXISTS subject OR EXISTS time")
    result = await kubectl.run("apply", "-f", kubectl.file(mixed))
    assert result.code == 0
    assert "Warning: at character 1: AND and OR bind alike and to the right here: write parentheses" in result.err


async def test_what_never_changes(kubectl) -> None:
    await kubectl("apply", "-f", kubectl.file(BROKER))
    result = await kubectl.run("apply", "-f", kubectl.file(BROKER.replace("broker: default", "broker: other")))
    assert "Immutable fields changed (-old +new): spec.broker" in result.err
    patch = json.dumps({"metadata": {"annotations": {"eventing.knative.dev/broker.class": "Kafka"}}})
    result = await kubectl.run("patch", "broker", "default", "--type=merge", "-p", patch)
    assert "Immutable annotations changed (-old +new): metadata.annotations" in result.err


async def test_explain(kubectl) -> None:
    text = await kubectl("explain", "trigger.spec.filters")
    assert "GROUP:      eventing.knative.dev" in text
    assert "jsonpath, cel (looking into JSON data)" in text
    text = await kubectl("explain", "broker.spec.delivery", "--recursive")
    assert "deadLetterSink\t<Destination>" in text
    assert "backoffDelay\t<string>" in text
    assert "CACerts\t<string>" in text
