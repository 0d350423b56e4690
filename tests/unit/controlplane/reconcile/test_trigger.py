"""Trigger: what it needs, what it waits for, and when it is Ready (spec/eventing.md §10.4, §12.4-12.8)."""

import json

import pytest
from msgspec.structs import replace

from controlplane import compile_eventing as compiled
from controlplane.reconcile.controllers import CONTROLLERS
from controlplane.reconcile.outcome import key_of
from controlplane.store.contract import Change
from dataplane.resources.core import ConfigMap
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Route, Service

SERVICE = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"}
TYPES = [
    "BrokerReady",
    "DeadLetterSinkResolved",
    "DependencyReady",
    "OIDCIdentityCreated",
    "Ready",
    "SubscriberResolved",
    "SubscriptionReady",
]


def look(world, name="t"):
    world.look("trigger", Trigger, name)
    return world.need(Trigger, name)


def standing(world, **delivery):
    """A Broker that is Ready."""
    world.broker(**delivery)
    world.report("broker", "default")
    world.look("broker", Broker, "default")


def value(world, name="t"):
    return compiled.trigger(world.need(Trigger, name), world.need(Broker, "default"))


def test_it_is_ready_when_its_subscription_stands(world):
    standing(world)
    world.trigger()
    found = look(world)
    assert world.state(Trigger, "t") == ("Unknown", "SubscriptionNotConfigured")
    world.report("trigger", "t", start="17")
    found = look(world)
    assert world.state(Trigger, "t") == ("True", "")
    assert [one.type for one in found.status.conditions] == TYPES
    assert found.status.annotations == {"delivery.dataplane.dev/started-at": "17"}
    assert found.status.subscriber_uri == "http://127.0.0.1:9000/"
    world.now += 60
    assert look(world) == found


def test_where_it_began_is_said_once_and_again_when_its_broker_was_made_anew(world):
    standing(world)
    world.trigger()
    world.report("trigger", "t", start="latest")
    look(world)
    world.report("trigger", "t", start="earliest")  # a process that starts again, after the annotation was changed
    assert look(world).status.annotations == {"delivery.dataplane.dev/started-at": "latest"}
    world.delete(Broker, "default")
    assert look(world).status.annotations == {}
    standing(world)
    world.report("trigger", "t", start="earliest")
    assert look(world).status.annotations == {"delivery.dataplane.dev/started-at": "earliest"}


def test_a_subscription_that_fails_says_why(world):
    standing(world)
    world.trigger()
    world.report("trigger", "t", ready=False, reason="NotSubscribed", message="no such group")
    look(world)
    assert world.state(Trigger, "t") == ("False", "NotSubscribed")
    assert world.message(Trigger, "t", "SubscriptionReady") == "no such group"


def test_a_report_about_an_earlier_trigger_of_the_name_is_not_believed(world):
    standing(world)
    world.trigger()
    world.report("trigger", "t", uid="another")
    look(world)
    assert world.state(Trigger, "t", "SubscriptionReady")[0] == "Unknown"


def test_it_may_come_before_its_broker_and_outlive_it(world):
    world.trigger()
    look(world)
    assert world.state(Trigger, "t") == ("False", "BrokerDoesNotExist")
    assert world.message(Trigger, "t") == 'Broker "default" does not exist'
    world.broker()
    look(world)
    assert world.state(Trigger, "t", "BrokerReady") == ("Unknown", "BrokerNotConfigured")
    standing(world)
    world.report("trigger", "t")
    look(world)
    assert world.state(Trigger, "t") == ("True", "")
    world.delete(Broker, "default")
    look(world)
    assert world.state(Trigger, "t", "BrokerReady") == ("False", "BrokerDoesNotExist")


def test_a_broker_that_is_not_ready_gives_its_reason(world):
    standing(world)
    world.report("broker", "default", ready=False, reason="StoreUnavailable", message="away")
    world.look("broker", Broker, "default")
    world.trigger()
    look(world)
    assert world.state(Trigger, "t", "BrokerReady") == ("False", "StoreUnavailable")


def test_subscribers_are_resolved(world):
    standing(world)
    world.trigger(subscriber={"ref": SERVICE, "uri": "/in?x=1"})
    found = look(world)
    assert world.state(Trigger, "t", "SubscriberResolved") == ("False", "Unable to get the Subscriber's URI")
    assert world.message(Trigger, "t", "SubscriberResolved") == 'Service "default/hello" not found'
    assert found.status.subscriber_uri == ""
    assert value(world) is None
    world.deployed()
    assert look(world).status.subscriber_uri == "http://hello.default.svc.cluster.local/in?x=1"
    world.delete(Service, "hello")
    assert look(world).status.subscriber_uri == ""
    for subscriber, uri in [
        (
            {"ref": {"apiVersion": "v1", "kind": "Service", "name": "a", "namespace": "b"}},
            "http://a.b.svc.cluster.local/",
        ),
        (
            {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "default"}},
            "http://127.0.0.1:8082/default/default",
        ),
        ({"uri": "https://example.com/x", "audience": "me"}, "https://example.com/x"),
        ({"ref": {"apiVersion": "example.com/v1", "kind": "Thing", "name": "a"}}, ""),
    ]:
        world.trigger(subscriber=subscriber)
        assert look(world).status.subscriber_uri == uri
    assert world.message(Trigger, "t", "SubscriberResolved") == "no kind Thing in example.com/v1 is served here"


def test_a_bad_trigger_does_not_disturb_a_good_one(world):
    standing(world)
    world.trigger("bad", subscriber={"ref": SERVICE})
    world.trigger("good")
    world.report("trigger", "good")
    look(world, "bad")
    look(world, "good")
    assert world.state(Trigger, "bad")[0] == "False"
    assert world.state(Trigger, "good")[0] == "True"


BROKER = {
    "deadLetterSink": {"uri": "http://broker-dls/"},
    "retry": 3,
    "backoffPolicy": "linear",
    "backoffDelay": "PT2S",
}


@pytest.mark.parametrize(
    ("of_broker", "of_trigger", "sink", "retry", "backoff", "delay_s"),
    [
        (BROKER, None, "http://broker-dls/", 3, "linear", 2.0),
        (BROKER, {"retry": 5}, "http://broker-dls/", 5, "exponential", 0.2),  # as a whole, but for the sink
        (BROKER, {"retry": 1, "deadLetterSink": {"uri": "http://own/"}}, "http://own/", 1, "exponential", 0.2),
        (BROKER, {}, "http://broker-dls/", 0, "exponential", 0.2),
        ({"retry": 0}, None, "", 0, "exponential", 0.2),
        (None, None, "", 10, "exponential", 0.2),  # of config-br-defaults
    ],
)
def test_what_a_trigger_inherits(world, of_broker, of_trigger, sink, retry, backoff, delay_s):
    standing(world, delivery=of_broker)
    world.trigger(**({"delivery": of_trigger} if of_trigger is not None else {}))
    assert look(world).status.dead_letter_sink_uri == sink
    made = value(world)
    assert (made.dead_letter.url if made.dead_letter else "") == sink
    assert (made.delivery.retry, made.delivery.backoff, made.delivery.delay_s) == (retry, backoff, delay_s)


def test_a_sink_that_cannot_be_resolved_is_told_and_not_used(world):
    standing(world)
    world.trigger(delivery={"deadLetterSink": {"ref": SERVICE}})
    look(world)
    assert world.state(Trigger, "t", "DeadLetterSinkResolved") == ("False", "Unable to get the dead letter sink's URI")
    assert value(world).dead_letter is None


def test_it_waits_for_what_it_depends_on(world):
    standing(world)
    text = json.dumps({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"})
    world.trigger(annotations={"knative.dev/dependency": text})
    world.report("trigger", "t")
    look(world)
    assert world.state(Trigger, "t") == ("False", "DependencyDoesNotExist")
    world.service()
    look(world)
    assert world.state(Trigger, "t", "DependencyReady") == ("Unknown", "GenerationNotEqual")
    world.deployed()
    look(world)
    assert world.state(Trigger, "t") == ("True", "")


def test_the_default_broker_is_made_for_a_trigger_that_asks(world):
    world.trigger(annotations={"eventing.knative.dev/injection": "enabled"})
    look(world)
    made = world.need(Broker, "default")
    assert made.metadata.annotations["eventing.knative.dev/broker.class"] == "MTChannelBasedBroker"
    assert made.spec.delivery.retry == 10
    world.settle()
    world.trigger("other")
    world.delete(Broker, "default")
    look(world, "other")
    assert world.get(Broker, "default") is None


def test_who_looks_again_when_something_changes(world):
    """Objects that are named look again, before they exist and after they are gone."""
    world.broker(config="how", delivery={"deadLetterSink": {"ref": SERVICE}})
    world.trigger(subscriber={"ref": SERVICE}, delivery={"deadLetterSink": {"ref": {**SERVICE, "name": "dls"}}})
    dependency = {"apiVersion": "serving.knative.dev/v1", "kind": "Route", "name": "r"}
    world.trigger("u", annotations={"knative.dev/dependency": json.dumps(dependency)})

    def looks(controller, one):
        (found,) = [each for each in CONTROLLERS if each.name == controller]
        return {key.name for key in found.concerned(Change("MODIFIED", key_of(one), one, 1), world.view)}

    def named(struct, name):
        return struct(metadata=ObjectMeta(name=name, namespace="default"))

    assert looks("broker", named(ConfigMap, "how")) == {"default"}
    assert looks("broker", named(Service, "hello")) == {"default"}
    assert looks("trigger", named(Service, "hello")) == {"t"}
    assert looks("trigger", named(Service, "dls")) == {"t"}
    assert looks("trigger", named(Route, "r")) == {"u"}
    assert looks("trigger", named(Broker, "default")) == {"t", "u"}
    assert looks("trigger", named(ConfigMap, "how")) == set()


def test_everything_comes_to_rest(world):
    world.broker(config="how")
    world.trigger()
    world.trigger("u", annotations={"eventing.knative.dev/injection": "enabled"})
    world.settle()
    world.apply("ConfigMap", "how", data={"parked_max": "5"})
    world.report("broker", "default")
    world.report("trigger", "t")
    world.settle()
    assert world.state(Trigger, "t") == ("True", "")
    assert replace(world.need(Broker, "default"), status=None).spec.config.name == "how"
