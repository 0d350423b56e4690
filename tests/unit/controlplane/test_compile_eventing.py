import pytest
from msgspec.structs import replace

from controlplane import compile_eventing as compiled
from dataplane.errors import ConfigFault
from dataplane.policy.filters import compile_filters
from dataplane.resources.eventing import Broker, Trigger, TriggerFilter, TriggerSpec, TriggerStatus
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.triggers import DeliveryPolicy, Target
from dataplane.wire.cloudevents import Event

BROKER = Broker(metadata=ObjectMeta(name="b", namespace="n"))


def trigger(annotations=None, **spec):
    meta = ObjectMeta(name="t", namespace="n", uid="u", annotations=annotations or {})
    return Trigger(
        metadata=meta, spec=TriggerSpec(broker="b", **spec), status=TriggerStatus(subscriber_uri="http://s/")
    )


@pytest.mark.parametrize(
    ("spec", "matches"),
    [
        ({}, True),
        ({"filter": TriggerFilter()}, True),
        ({"filter": TriggerFilter(attributes={"type": "a"})}, True),
        ({"filter": TriggerFilter(attributes={"type": "b"})}, False),
        ({"filter": TriggerFilter(attributes={"ext": ""})}, False),
        ({"filter": TriggerFilter(attributes={"type": "b"}), "filters": ({"exact": {"type": "a"}},)}, True),
        ({"filter": TriggerFilter(attributes={"type": "a"}), "filters": ({"exact": {"type": "b"}},)}, False),
        ({"filter": TriggerFilter(attributes={"type": "b"}), "filters": ()}, False),
    ],
)
def test_filters_replace_the_filter_when_there_are_any(spec, matches):
    made = compiled.trigger(trigger(**spec), BROKER)
    event = Event(attributes={"id": "1", "type": "a", "source": "/"})
    assert compile_filters(made.filters).matches(event) is matches


def test_annotations_become_numbers():
    made = compiled.trigger(
        trigger(
            {
                "kafka.eventing.knative.dev/delivery.order": "ordered",
                "delivery.dataplane.dev/max-in-flight": "7",
                "delivery.dataplane.dev/rate-limit": "2.5",
                "delivery.dataplane.dev/start": "earliest",
                "delivery.dataplane.dev/paused": "true",
                "delivery.dataplane.dev/max-backoff": "PT1M",
            }
        ),
        BROKER,
    )
    assert (made.ordered, made.max_in_flight, made.rate_per_s, made.start, made.paused) == (
        True,
        7,
        2.5,
        "earliest",
        True,
    )
    assert made.delivery == DeliveryPolicy(max_backoff_s=60.0, timeout_s=0.0)
    assert (made.uid, made.broker, made.subscriber) == ("u", "b", Target(url="http://s/"))


@pytest.mark.parametrize(
    ("url", "via"),
    [
        ("http://books.default.svc.cluster.local", "127.0.0.1:8083"),
        ("http://books.default.svc.cluster.local/x", "127.0.0.1:8083"),
        ("http://svc.cluster.local.example.com/", ""),
        ("http://127.0.0.1:9/", ""),
    ],
)
def test_cluster_local_names_go_through_the_gateway_that_serves_them(url, via):
    status = TriggerStatus(subscriber_uri=url, dead_letter_sink_uri=url)
    made = compiled.trigger(replace(trigger(), status=status), BROKER, compiled.Doors("127.0.0.1:8083"))
    assert made.subscriber == made.dead_letter == Target(url=url, via=via)


@pytest.mark.parametrize(
    ("url", "broker"),
    [("http://127.0.0.1:8082/n/b", True), ("http://127.0.0.1:80821/n/b", False), ("http://s/", False)],
)
def test_a_broker_is_known_by_its_address(url, broker):
    status = TriggerStatus(subscriber_uri=url, dead_letter_sink_uri=url)
    made = compiled.trigger(replace(trigger(), status=status), BROKER, compiled.Doors("", "http://127.0.0.1:8082"))
    assert (made.subscriber.broker, made.dead_letter.broker) == (broker, broker)


def test_our_name_for_the_order_wins():
    both = {"kafka.eventing.knative.dev/delivery.order": "ordered", "delivery.dataplane.dev/order": "unordered"}
    assert not compiled.trigger(trigger(both), BROKER).ordered


def test_what_admission_would_refuse_is_a_fault_not_a_crash():
    with pytest.raises(ConfigFault, match="whole number of requests"):
        compiled.trigger(trigger({"delivery.dataplane.dev/max-in-flight": "many"}), BROKER)
