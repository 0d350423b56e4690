"""Brokers and triggers in the snapshot: nothing is taken away but what was deleted (spec/eventing.md §12.5, §12.10)."""

import asyncio

import pytest

from controlplane import publish_eventing
from controlplane.publish import Publisher, merged
from dataplane.resources.core import ConfigMap, Secret
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.serving import Service
from dataplane.resources.snapshot import Change, Snapshot, changed
from dataplane.telemetry.metrics import Registry
from dataplane.testing.clock import VirtualTimeLoop

SERVICE = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"}


@pytest.fixture
def loop():
    loop = VirtualTimeLoop()
    yield loop
    loop.close()


class Published:
    def __init__(self, world, loop):
        self.world, self.loop = world, loop
        self.publisher = Publisher(
            store=world.store,
            config=lambda: world.config,
            loop=loop,
            generation=1,
            settled=lambda _: None,
            registry=Registry(),
        )
        self.publisher.open()
        self.snapshot, self.changes = Snapshot(), []
        self.publisher.subscribe(self.apply)

    def apply(self, snapshot, change):
        self.changes.append(change)
        self.snapshot = changed(self.snapshot, change)
        assert self.snapshot == snapshot

    def turn(self):
        self.world.settle()
        for _ in range(4):
            self.loop.run_until_complete(asyncio.sleep(0))
        return self.snapshot


@pytest.fixture
def published(world, loop):
    found = Published(world, loop)
    yield found
    found.publisher.close()


def test_brokers_and_triggers_are_published_and_go(world, published):
    world.broker()
    world.trigger(filters=[{"exact": {"type": "a"}}])
    snapshot = published.turn()
    assert snapshot.triggers["default/t"].filters == ({"exact": {"type": "a"}},)
    assert snapshot.triggers["default/t"].delivery.retry == 10
    assert snapshot.brokers["default/default"].uid == world.need(Broker, "default").metadata.uid
    world.delete(Trigger, "t")
    assert published.turn().triggers == {}
    assert published.changes[-1].triggers == {"default/t": None}


def test_what_is_stored_is_published_when_the_process_starts(world, loop):
    world.broker()
    world.trigger()
    world.settle()
    found = Published(world, loop)
    assert found.snapshot.triggers.keys() == {"default/t"}
    assert found.snapshot.brokers.keys() == {"default/default"}
    found.publisher.close()


def test_a_change_of_conditions_publishes_nothing(world, published):
    world.broker()
    world.trigger()
    published.turn()
    count = len(published.changes)
    world.report("broker", "default")
    world.report("trigger", "t")
    published.turn()
    assert world.state(Trigger, "t") == ("True", "")
    assert len(published.changes) == count


def test_a_brokers_delivery_reaches_its_triggers(world, published):
    world.broker()
    world.trigger()
    published.turn()
    world.broker(delivery={"retry": 4})
    assert published.turn().triggers["default/t"].delivery.retry == 4


def test_a_trigger_whose_subscriber_is_gone_is_paused_not_removed(world, published):
    world.broker()
    world.deployed()
    world.trigger(subscriber={"ref": SERVICE})
    before = published.turn().triggers["default/t"]
    assert before.subscriber.url == "http://hello.default.svc.cluster.local"
    world.delete(Service, "hello")
    after = published.turn().triggers["default/t"]
    assert (after.paused, after.subscriber) == (True, before.subscriber)
    world.deployed()
    assert published.turn().triggers["default/t"] == before


def test_a_trigger_whose_subscriber_is_gone_is_there_again_when_the_process_starts_again(world, published, loop):
    world.broker()
    world.deployed()
    world.trigger(subscriber={"ref": SERVICE})
    published.turn()
    world.report("trigger", "t", start="latest")
    published.turn()
    world.delete(Service, "hello")
    published.turn()
    again = Published(world, loop)
    found = again.snapshot.triggers["default/t"]
    assert found.paused, "what waits for it and what it gave up can be looked at"
    world.deployed()
    assert again.turn().triggers["default/t"].subscriber.url == "http://hello.default.svc.cluster.local"
    assert not again.snapshot.triggers["default/t"].paused
    again.publisher.close()


def test_a_trigger_that_never_had_a_subscriber_is_not_there(world, published):
    world.broker()
    world.trigger(subscriber={"ref": SERVICE})
    assert published.turn().triggers == {}


def test_a_broker_whose_config_map_is_gone_stays_as_it_was(world, published):
    world.apply("ConfigMap", "how", data={"parked_max": "5"})
    world.broker(config="how")
    before = published.turn().brokers["default/default"]
    assert before.settings == {"parked_max": 5.0}
    world.delete(ConfigMap, "how")
    assert published.turn().brokers["default/default"] == before


def test_a_broker_whose_config_map_never_was_waits_for_it(world, published):
    made = world.broker(config="how")
    waits = published.turn().brokers["default/default"]
    assert (waits.uid, waits.waits_for) == (made.metadata.uid, "its configuration could not be read yet")
    world.apply("ConfigMap", "how", data={"auth.secret.ref.name": "login"})
    assert published.turn().brokers["default/default"].waits_for == 'Secret "default/login" not found'
    world.apply("ConfigMap", "how", data={"parked_max": "5"})
    found = published.turn().brokers["default/default"]
    assert (found.waits_for, found.settings) == ("", {"parked_max": 5.0})


def test_another_secret_reaches_its_broker(world, published):
    world.apply("ConfigMap", "how", data={"bootstrap.servers": "k:9092", "auth.secret.ref.name": "login"})
    world.broker(class_="Kafka", config="how")
    assert published.turn().brokers["default/default"].waits_for == 'Secret "default/login" not found'
    world.apply("Secret", "login", stringData={"password": "one"})
    before = published.turn().brokers["default/default"]
    assert before.secret == {"password": "one"}
    world.apply("Secret", "login", stringData={"password": "two"})
    after = published.turn().brokers["default/default"]
    assert after.secret == {"password": "two"}
    world.delete(Secret, "login")
    assert published.turn().brokers["default/default"] == after


def test_a_deleted_broker_goes_after_its_triggers(world, published):
    world.broker()
    world.trigger()
    published.turn()
    world.delete(Broker, "default")
    snapshot = published.turn()
    assert (snapshot.brokers, snapshot.triggers) == ({}, {})
    gone = [(change.brokers, change.triggers) for change in published.changes if change.brokers or change.triggers][-1]
    assert gone == ({"default/default": None}, {"default/t": None})


def test_a_deleted_broker_goes_when_its_triggers_took_the_whole_turn(world, published, loop, monkeypatch):
    world.broker()
    world.trigger()
    published.turn()
    key = publish_eventing.broker_key
    monkeypatch.setattr(publish_eventing, "broker_key", lambda one: (loop.spend(1), key(one))[1])
    world.delete(Broker, "default")
    assert published.turn().brokers == {}


def test_a_broker_made_anew_is_taken_away_first(world, published):
    world.broker()
    world.trigger()
    first = published.turn().brokers["default/default"]
    world.delete(Broker, "default")
    world.broker()  # before anything was published
    snapshot = published.turn()
    assert snapshot.brokers["default/default"].uid != first.uid
    assert snapshot.triggers.keys() == {"default/t"}
    assert any(change.brokers.get("default/default", first) is None for change in published.changes)


def test_a_trigger_comes_when_its_broker_does(world, published):
    world.trigger()
    assert published.turn().triggers == {}
    world.broker()
    assert published.turn().triggers.keys() == {"default/t"}


def test_merged_changes_keep_brokers_and_triggers(world, published):
    world.broker()
    world.trigger()
    value = published.turn()
    one = Change(generation=2, base=1, brokers={"a": value.brokers["default/default"]}, triggers={"t": None})
    two = Change(generation=3, base=2, brokers={"a": None}, triggers={"t": value.triggers["default/t"]})
    both = merged(one, two)
    assert (both.brokers, both.triggers) == ({"a": None}, {"t": value.triggers["default/t"]})
