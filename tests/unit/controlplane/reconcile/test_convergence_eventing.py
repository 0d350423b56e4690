"""Brokers and Triggers, level-triggered: in whatever order they are looked at, the same state; and the snapshot follows."""

import asyncio
import random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane import compile_eventing as compiled
from controlplane.publish import Publisher
from controlplane.reconcile.controllers import CONTROLLERS
from controlplane.reconcile.outcome import key_for
from dataplane.resources.core import ConfigMap
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.serving import Service
from dataplane.resources.snapshot import Snapshot, changed
from dataplane.telemetry.metrics import Registry
from dataplane.testing.clock import VirtualTimeLoop

SERVICE = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"}}
START = (("trigger", "default"), ("broker", "default"))
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "broker", "with config", "kafka", "delete broker", "trigger", "to service", "delete trigger", "service",
                "delete service", "config", "delete config", "broker stands", "trigger stands", "silence", "delivery",
            ]
        ),
        st.sampled_from(("default", "default", "default", "other")),
    ),
    min_size=6,
    max_size=20,
)  # fmt: skip


def operate(world, operation, name):
    broker, trigger = world.get(Broker, name), world.get(Trigger, name)
    if operation == "broker" and broker is None:
        world.broker(name)
    elif operation == "with config" and broker is None:
        world.broker(name, config="how", class_="Memory")
    elif operation == "kafka" and broker is None:
        world.broker(name, config="how", class_="Kafka")
    elif operation == "delivery" and broker is not None:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "name": "how"}
        retry = ((broker.spec.delivery.retry or 0) + 1) % 5
        spec = {"delivery": {"retry": retry}} | ({"config": config} if broker.spec.config else {})
        world.apply("Broker", name, metadata={"annotations": dict(broker.metadata.annotations)}, spec=spec)
    elif operation == "delete broker" and broker is not None:
        world.delete(Broker, name)
    elif operation == "trigger" and (trigger is None or trigger.spec.broker == name):
        world.trigger(name, broker=name, filters=[{"exact": {"type": "a"}}])
    elif operation == "to service" and (trigger is None or trigger.spec.broker == name):
        world.trigger(name, broker=name, subscriber=SERVICE, delivery={"deadLetterSink": SERVICE})
    elif operation == "delete trigger" and trigger is not None:
        world.delete(Trigger, name)
    elif operation == "service" and world.get(Service, "hello") is None:
        world.service()
    elif operation == "delete service" and world.get(Service, "hello") is not None:
        world.delete(Service, "hello")
    elif operation == "config":
        world.apply("ConfigMap", "how", data={"bootstrap.servers": "k:9092", "parked_max": "5"})
    elif operation == "delete config" and world.get(ConfigMap, "how") is not None:
        world.delete(ConfigMap, "how")
    elif operation == "broker stands" and broker is not None:
        world.report("broker", name, durability="fsync")
    elif operation == "trigger stands" and trigger is not None:
        world.report("trigger", name, start="latest")
    elif operation == "silence":
        world.reported.clear()


def picture(world):
    out = []
    for one in (*world.all(Broker), *world.all(Trigger)):
        body = msgspec.to_builtins(one)
        for found in body.get("status", {}).get("conditions", ()):
            found.pop("lastTransitionTime", None)
        out.append((type(one).__name__, one.metadata.name, body.get("spec"), body.get("status")))
    return out


def settle_in_random_order(world, source):
    for _ in range(40):
        before = world.store.revision
        items = [
            (controller, key)
            for controller in CONTROLLERS
            for key in (*world.view.all_keys(), *world.view.routing())
            if controller.kind is None or key[:2] == key_for(controller.kind, "", "")[:2]
        ]
        for controller, key in source.sample(items, len(items)) + source.sample(items, len(items) // 2):
            world.execute(controller.reconcile(key, world.view, world.now))
        if world.store.revision == before:
            return
    raise AssertionError("no rest")


@pytest.fixture
def another(world):
    return type(world)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, seed=st.integers(0, 2**32))
def test_the_order_of_looks_does_not_matter(another, operations, seed):
    calm, wild, source = another(), another(), random.Random(seed)
    for operation, name in (*START, *operations):
        for world in (calm, wild):
            operate(world, operation, name)
        calm.settle()
        settle_in_random_order(wild, source)
        assert picture(wild) == picture(calm), operation


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, quick=st.lists(st.booleans(), min_size=20, max_size=20))
def test_what_is_published_is_what_is_there(another, operations, quick):
    """Whatever happens between two publications: a follower of the changes ends with what the store says, and nothing that
    exists was ever taken away."""
    world, loop = another(), VirtualTimeLoop()
    publisher = Publisher(
        store=world.store,
        config=lambda: world.config,
        loop=loop,
        generation=1,
        settled=lambda _: None,
        registry=Registry(),
    )
    publisher.open()
    held = [Snapshot()]

    def apply(snapshot, change):
        for key, value in (*change.brokers.items(), *change.triggers.items()):
            there = {**held[0].brokers, **held[0].triggers}.get(key)
            if value is None and there is not None and key in change.brokers:
                now = world.get(Broker, key.partition("/")[2])
                assert now is None or now.metadata.uid != there.uid
        held[0] = changed(held[0], change)
        assert held[0] == snapshot

    publisher.subscribe(apply)
    for (operation, name), hurry in zip((*START, *operations), (False, False, *quick), strict=False):
        operate(world, operation, name)
        world.settle()
        if not hurry:
            for _ in range(4):
                loop.run_until_complete(asyncio.sleep(0))
            assert_published(world, held[0])
    publisher.close()
    loop.close()


def assert_published(world, snapshot):
    brokers = {f"default/{one.metadata.name}": compiled.broker(one) for one in world.all(Broker)}
    assert snapshot.brokers == {key: value for key, value in brokers.items() if value is not None}
    for one in world.all(Trigger):
        of = world.get(Broker, one.spec.broker)
        wanted = compiled.trigger(one, of) if of is not None else None
        found = snapshot.triggers.get(f"default/{one.metadata.name}")
        if found != wanted:  # it has no subscriber now, but had one
            assert wanted is None
            assert (found.paused, found.uid) == (True, one.metadata.uid)
    assert snapshot.triggers.keys() <= {f"default/{one.metadata.name}" for one in world.all(Trigger)}
