import pytest

from controlplane.brokerdesk import BrokerDesk
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.triggers import Reported


@pytest.fixture
def desk(world):
    world.trigger()
    world.changes = []
    desk = BrokerDesk(store=world.store, changed=lambda kind, key: world.changes.append((kind, key)))
    yield desk
    desk.close()


def said(world, **more):
    uid = world.need(Trigger, "t").metadata.uid
    return Reported(**{"kind": "trigger", "key": "default/t", "uid": uid, "ready": True, **more})


def test_what_is_said_is_kept_and_told_once(world, desk):
    desk.report(said(world, start="5"))
    desk.report(said(world, start="5"))
    assert desk.reported("trigger", "default/t").start == "5"
    assert world.changes == [("trigger", "default/t")]
    assert desk.reported("broker", "default/t") is None


def test_of_several_processes_one_that_is_ready_is_enough(world, desk):
    desk.report(said(world, ready=False, reason="NotSubscribed"), "one")
    assert not desk.reported("trigger", "default/t").ready
    desk.report(said(world), "two")
    assert desk.reported("trigger", "default/t").ready
    desk.forget("two")
    assert not desk.reported("trigger", "default/t").ready
    desk.forget("one")
    assert desk.reported("trigger", "default/t") is None
    assert len(world.changes) == 4


def test_nothing_is_kept_about_what_does_not_exist(world, desk):
    desk.report(said(world, key="default/nobody"))
    desk.report(said(world, uid="of another"))
    assert world.changes == []
    desk.report(said(world))
    world.delete(Trigger, "t")
    assert desk.reported("trigger", "default/t") is None
    assert desk._said == {}


def test_a_deleted_broker_ends_the_subscriptions_of_its_triggers(world, desk):
    world.broker()
    world.broker("other")
    world.trigger("u", broker="other")
    desk.report(said(world))
    uid = world.need(Trigger, "u").metadata.uid
    desk.report(Reported(kind="trigger", key="default/u", uid=uid, ready=True))
    world.changes.clear()
    world.delete(Broker, "default")
    assert desk.reported("trigger", "default/t") is None
    assert desk.reported("trigger", "default/u") is not None
    assert world.changes == [("trigger", "default/t")]
