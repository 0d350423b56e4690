"""Broker and Trigger at the door (spec/eventing.md §8.5, §10.3, §12, Appendix B)."""

import pytest
from msgspec.structs import replace

GROUP = "eventing.knative.dev"
CLASS = "eventing.knative.dev/broker.class"
SUBSCRIBER = {"uri": "http://127.0.0.1:9000/x"}
DEFAULTS = """
clusterDefault:
  brokerClass: SQLite
  apiVersion: v1
  kind: ConfigMap
  name: how
  namespace: knative-eventing
  delivery: {retry: 3, backoffPolicy: linear, backoffDelay: PT1S}
  brokerClasses:
    Kafka: {apiVersion: v1, kind: ConfigMap, name: kafka-broker-config, namespace: knative-eventing}
namespaceDefaults:
  team:
    brokerClass: Memory
disallowDifferentNamespaceConfig: true
"""


def broker(judge, *, spec=None, namespace="default", **annotations):
    metadata = {"annotations": annotations.pop("annotations", {}), "namespace": namespace}
    return judge.build(GROUP, "Broker", name="default", metadata=metadata, spec=spec or {})


def trigger(judge, *, annotations=None, **spec):
    full = {"broker": "default", "subscriber": SUBSCRIBER, **spec}
    return judge.build(
        GROUP,
        "Trigger",
        metadata={"annotations": annotations or {}},
        spec={key: value for key, value in full.items() if value is not None},
    )


def test_a_broker_gets_class_and_delivery(judge):
    made = judge.admit(broker(judge)).object
    assert made.metadata.annotations[CLASS] == "MTChannelBasedBroker"
    assert (made.spec.delivery.retry, made.spec.delivery.backoff_policy, made.spec.delivery.backoff_delay) == (
        10,
        "exponential",
        "PT0.2S",
    )
    assert made.spec.config is None


def test_defaults_come_from_the_config_map_by_namespace_and_class(judge):
    config = {"config-br-defaults": {"default-br-config": DEFAULTS}}
    made = judge.admit(broker(judge), config=config).object
    assert (made.metadata.annotations[CLASS], made.spec.config.name, made.spec.delivery.retry) == ("SQLite", "how", 3)
    made = judge.admit(broker(judge, annotations={CLASS: "Kafka"}), config=config).object
    assert (made.spec.config.name, made.spec.delivery.retry) == ("kafka-broker-config", 3)
    made = judge.admit(broker(judge, namespace="team"), config=config).object
    assert (made.metadata.annotations[CLASS], made.spec.config) == ("Memory", None)
    given = {"delivery": {"retry": 1}, "config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine"}}
    made = judge.admit(broker(judge, spec=given), config=config).object
    assert (made.spec.config.name, made.spec.config.namespace, made.spec.delivery.backoff_policy) == (
        "mine",
        "default",
        "",
    )


def test_a_config_of_another_namespace_may_be_forbidden(judge):
    spec = {"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "namespace": "other"}}
    config = {"config-br-defaults": {"default-br-config": DEFAULTS}}
    assert judge.errors(broker(judge, spec=spec)) == []
    assert judge.errors(broker(judge, spec=spec), config=config) == ["must not set the field(s): spec.config.namespace"]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("clusterDefault: {brokerClass: Rabbit}", "clusterDefault.brokerClass: one of MTChannelBasedBroker, Kafka"),
        ("clusterDefault: {delivery: {retry: -1}}", "invalid value: -1: clusterDefault.delivery.retry"),
        ("namespaceDefaults: {a: {delivery: {backoffDelay: 5s}}}", "namespaceDefaults.a.delivery.backoffDelay"),
        ("clusterDefault: {delivery: {backofDelay: PT5S}}", "backofDelay: no such key; did you mean backoffDelay?"),
        ("clusterDefaults: {brokerClass: Memory}", "clusterDefaults: no such key; did you mean clusterDefault?"),
        ("clusterDefault: {brokerClazz: Memory}", "brokerClazz: no such key; did you mean brokerClass?"),
        ("disallowDifferentNamespaceConfig: 'true'", "disallowDifferentNamespaceConfig: true or false is needed"),
    ],
)
def test_a_bad_config_map_is_refused_when_it_is_written(judge, bad, told):
    one = judge.build(
        "",
        "ConfigMap",
        name="config-br-defaults",
        metadata={"namespace": "knative-eventing"},
        data={"default-br-config": bad},
    )
    (error,) = judge.errors(one)
    assert told in error


def test_only_delivery_of_a_broker_may_change(judge):
    spec = {"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}}
    old = judge.admit(broker(judge, spec=spec)).object
    assert judge.errors(broker(judge, spec={**spec, "delivery": {"retry": 7}}), old) == []
    assert judge.errors(broker(judge), old) == []  # left out: kept
    assert judge.admit(broker(judge), old).object.spec.config.name == "a"
    (error,) = judge.errors(broker(judge, spec={"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "b"}}), old)
    assert error.startswith("Immutable fields changed (-old +new): spec\n")
    assert '-: "a"' in error
    assert '+: "b"' in error
    (error,) = judge.errors(broker(judge, annotations={CLASS: "Kafka"}, spec=spec), old)
    assert error.startswith("Immutable annotations changed (-old +new): metadata.annotations")


def test_an_unknown_class_is_told_what_there_is(judge):
    (error,) = judge.errors(broker(judge, annotations={CLASS: "RabbitMQBroker"}))
    assert error.startswith(
        f"invalid value: RabbitMQBroker: metadata.annotations[{CLASS}]\nthere is one of MTChannelBasedBroker, Kafka"
    )


@pytest.mark.parametrize(
    ("delivery", "error"),
    [
        ({"retry": -1}, "invalid value: -1: D.retry"),
        ({"backoffPolicy": "cubic"}, "invalid value: cubic: D.backoffPolicy\nlinear or exponential"),
        ({"backoffDelay": "5s"}, "invalid value: 5s: D.backoffDelay\nan ISO 8601 duration looks like PT0.2S or PT5M"),
        ({"backoffDelay": "-PT5S"}, "invalid value: -PT5S: D.backoffDelay\nit may not be negative"),
        ({"timeout": "PT0S"}, "invalid value: PT0S: D.timeout\nit must be longer than nothing"),
        ({"timeout": "PT"}, "invalid value: PT: D.timeout\nan ISO 8601 duration looks like PT0.2S or PT5M"),
        ({"format": "xml"}, "invalid value: xml: D.format\njson or binary"),
        ({"retryAfterMax": "1h"}, "invalid value: 1h: D.retryAfterMax\nan ISO 8601 duration looks like PT0.2S or PT5M"),
        ({"deadLetterSink": {}}, "missing field(s): D.deadLetterSink.ref, D.deadLetterSink.uri"),
        (
            {"deadLetterSink": {"ref": {"kind": "Service"}}},
            "missing field(s): D.deadLetterSink.ref.apiVersion, D.deadLetterSink.ref.name",
        ),
    ],
)
def test_delivery(judge, delivery, error):
    for one in (broker(judge, spec={"delivery": delivery}), trigger(judge, delivery=delivery)):
        assert [text.replace("spec.delivery", "D") for text in judge.errors(one)] == [error]


def test_good_delivery(judge):
    good = {
        "retry": 0,
        "timeout": "PT30S",
        "backoffPolicy": "linear",
        "backoffDelay": "P1DT0.5S",
        "retryAfterMax": "PT0S",
        "format": "json",
    }
    assert judge.errors(trigger(judge, delivery=good)) == []


@pytest.mark.parametrize(
    ("subscriber", "error"),
    [
        ({}, "missing field(s): S.ref, S.uri"),
        (
            {"uri": "/x"},
            "invalid value: /x: S.uri\nRelative URI is not allowed when Ref and [apiVersion, kind, name] is absent",
        ),
        ({"uri": "ftp://host/x"}, "invalid value: ftp://host/x: S.uri\nan http or https URL with a host is needed"),
        ({"uri": "http:///x"}, "invalid value: http:///x: S.uri\nan http or https URL with a host is needed"),
        ({"uri": "http://h:99999/"}, "invalid value: http://h:99999/: S.uri\nPort out of range 0-65535"),
        ({"uri": "http://h/ä"}, "invalid value: http://h/ä: S.uri\ncharacters outside of a URI: percent-encode them"),
        ({"ref": {"apiVersion": "v1", "kind": "Service"}}, "missing field(s): S.ref.name"),
        (
            {"ref": {"apiVersion": "v1", "kind": "Service", "name": "a"}, "uri": "http://h/"},
            "Absolute URI is not allowed when Ref or [apiVersion, kind, name] is present: S.ref, S.uri, S[apiVersion, kind, name]",
        ),
    ],
)
def test_subscriber(judge, subscriber, error):
    assert [text.replace("spec.subscriber", "S") for text in judge.errors(trigger(judge, subscriber=subscriber))] == [
        error
    ]


def test_a_trigger_gets_label_filter_and_namespaces(judge):
    ref = {"apiVersion": "v1", "kind": "Service", "name": "a"}
    one = trigger(judge, subscriber={"ref": ref, "uri": "/x"}, delivery={"deadLetterSink": {"ref": ref}})
    made = judge.admit(one).object
    assert judge.errors(one) == []
    assert made.metadata.labels == {"eventing.knative.dev/broker": "default"}
    assert made.spec.filter is not None
    assert made.spec.subscriber.ref.namespace == "default"
    assert made.spec.delivery.dead_letter_sink.ref.namespace == "default"


def test_exactly_one_broker_that_never_changes(judge):
    ref = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}
    assert judge.errors(trigger(judge, broker=None)) == ["missing field(s): spec.broker"]
    assert judge.errors(trigger(judge, brokerRef=ref)) == [
        "expected exactly one, got both: spec.broker, spec.brokerRef"
    ]
    assert judge.errors(trigger(judge, broker=None, brokerRef=ref)) == []
    (error,) = judge.errors(trigger(judge, broker=None, brokerRef={**ref, "namespace": "other"}))
    assert error == "must not set the field(s): spec.brokerRef.namespace"
    old = judge.admit(trigger(judge)).object
    (error,) = judge.errors(trigger(judge, broker="other"), old)
    assert error.startswith("Immutable fields changed (-old +new): spec.broker\nbroker:")


@pytest.mark.parametrize(
    ("filters", "error"),
    [
        ([{}], "invalid value: {}: spec.filters[0]\nan empty filter would match nothing"),
        (
            [{"exact": {"type": "a"}, "prefix": {"type": "a"}}],
            "multiple dialects found, filters can have only one dialect set: spec.filters[0]",
        ),
        (
            [{"any": [{"exakt": {"type": "a"}}]}],
            'unknown filter dialect "exakt": spec.filters[0].any[0].exakt\nthere is one of exact',
        ),
        (
            [{"cesql": "type = 'a"}],
            "invalid value: type = 'a: spec.filters[0].cesql\nat character 8: the string that begins here has no closing '",
        ),
        ([{"not": {}}], "invalid value: {}: spec.filters[0].not"),
    ],
)
def test_filters(judge, filters, error):
    (said,) = judge.errors(trigger(judge, filters=filters))
    assert said.startswith(error)


def test_old_filter(judge):
    (error,) = judge.errors(trigger(judge, filter={"attributes": {"my-type": "a"}}))
    assert error == (
        'invalid key name "my-type": spec.filter.attributes\n'
        "Attribute name must start with a letter and can only contain lowercase alphanumeric"
    )


def test_what_may_not_be_meant_is_a_warning(judge):
    one = trigger(judge, filter={"attributes": {"type": "a"}}, filters=[{"cesql": "a = 1 AND b = 2 OR c = 3"}])
    said = judge.admit(one)
    assert said.errors == ()
    assert len(said.warnings) == 2
    assert any("write parentheses: spec.filters[0].cesql" in text for text in said.warnings)


@pytest.mark.parametrize(
    ("annotations", "error"),
    [
        (
            {"delivery.dataplane.dev/order": "strict"},
            "invalid value: strict: A[delivery.dataplane.dev/order]\nordered or unordered",
        ),
        (
            {"kafka.eventing.knative.dev/delivery.order": "x"},
            "invalid value: x: A[kafka.eventing.knative.dev/delivery.order]\nordered or unordered",
        ),
        (
            {"delivery.dataplane.dev/max-in-flight": "0"},
            "invalid value: 0: A[delivery.dataplane.dev/max-in-flight]\na whole number of requests from 1 to 10000",
        ),
        (
            {"delivery.dataplane.dev/rate-limit": "nan"},
            "invalid value: nan: A[delivery.dataplane.dev/rate-limit]\nevents per second, more than 0 and at most 1000000",
        ),
        (
            {"delivery.dataplane.dev/start": "2026-01-01T12:00:00"},
            "invalid value: 2026-01-01T12:00:00: A[delivery.dataplane.dev/start]\na time looks like 2026-01-31T12:00:00Z",
        ),
        *(
            (
                {"delivery.dataplane.dev/start": text},
                f"invalid value: {text}: A[delivery.dataplane.dev/start]\nlatest, earliest, a time like ",
            )
            for text in ("yesterday", "2026-01-31", "2026-01-31 12:00:00Z", "", "-1", "0:x", "Latest")
        ),
        (
            {"delivery.dataplane.dev/max-backoff": "PT0S"},
            "invalid value: PT0S: A[delivery.dataplane.dev/max-backoff]\nit must be longer than nothing",
        ),
        (
            {"delivery.dataplane.dev/max-inflight": "5"},
            'invalid key name "delivery.dataplane.dev/max-inflight": A\n'
            'did you mean "delivery.dataplane.dev/max-in-flight"?',
        ),
        (
            {"delivery.dataplane.dev/zzz": "5"},
            'invalid key name "delivery.dataplane.dev/zzz": A\nthere is delivery.dataplane.dev/order, ',
        ),
        (
            {"delivery.dataplane.dev/paused": "yes"},
            'invalid value: yes: A[delivery.dataplane.dev/paused]\n"true" or "false"',
        ),
        (
            {"knative.dev/dependency": "x"},
            'The provided annotation was not a corev1.ObjectReference: "x": A[knative.dev/dependency]',
        ),
        (
            {"knative.dev/dependency": '{"kind": "PingSource", "name": "p"}'},
            "missing field(s): A[knative.dev/dependency].apiVersion",
        ),
        (
            {"knative.dev/dependency": '{"kind": "K", "name": "p", "apiVersion": "v1", "namespace": "other"}'},
            'Namespace must be empty or equal to the trigger namespace "default": A[knative.dev/dependency].namespace',
        ),
        (
            {"eventing.knative.dev/injection": "on"},
            'The provided injection annotation value can only be "enabled" or "disabled", not "on": A[eventing.knative.dev/injection]',
        ),
    ],
)
def test_annotations(judge, annotations, error):
    (said,) = judge.errors(trigger(judge, annotations=annotations))
    assert said.replace("metadata.annotations", "A").startswith(error)


def test_good_annotations(judge):
    good = {
        "delivery.dataplane.dev/order": "ordered",
        "delivery.dataplane.dev/max-in-flight": "7",
        "delivery.dataplane.dev/rate-limit": "0.5",
        "delivery.dataplane.dev/start": "2026-01-01T12:00:00Z",
        "delivery.dataplane.dev/paused": "true",
        "delivery.dataplane.dev/max-backoff": "PT1M",
        "eventing.knative.dev/injection": "enabled",
        "knative.dev/dependency": '{"kind": "K", "name": "p", "apiVersion": "v1"}',
    }
    assert judge.errors(trigger(judge, annotations=good)) == []


@pytest.mark.parametrize("start", ["latest", "earliest", "42", "1764225224123-0", "1764225224123-0@2", "0:17, 1:4"])
def test_starts_as_the_stores_write_them(judge, start):
    assert judge.errors(trigger(judge, annotations={"delivery.dataplane.dev/start": start})) == []


def test_the_topic_of_a_kafka_broker_does_not_change(judge):
    topic = {"kafka.eventing.knative.dev/external.topic": "t"}
    old = judge.admit(broker(judge, annotations={CLASS: "Kafka", **topic})).object
    assert judge.errors(broker(judge, annotations={CLASS: "Kafka", **topic}), old) == []
    (error,) = judge.errors(broker(judge, annotations={CLASS: "Kafka"}), old)
    assert error == (
        "Immutable annotations changed (-old +new): metadata.annotations\n"
        "kafka.eventing.knative.dev/external.topic:\n\t-: t\n\t+: <absent>\n"
    )


def test_another_start_of_a_trigger_that_has_begun_is_warned_about(judge):
    old = judge.admit(trigger(judge)).object
    later = trigger(judge, annotations={"delivery.dataplane.dev/start": "earliest"})
    assert judge.admit(later, old).warnings == ()
    begun = replace(old, status=replace(old.status, annotations={"delivery.dataplane.dev/started-at": "latest"}))
    (said,) = judge.admit(later, begun).warnings
    assert "has begun to read, so this has no effect" in said
    assert judge.admit(trigger(judge), begun).warnings == ()


def test_a_brokers_annotations_do_not_reach_its_triggers(judge):
    (error,) = judge.errors(broker(judge, annotations={"delivery.dataplane.dev/order": "ordered"}))
    assert error == (
        'invalid key name "delivery.dataplane.dev/order": metadata.annotations\n'
        "a Trigger has such annotations, no Broker"
    )


def test_injection_is_for_the_default_broker(judge):
    (error,) = judge.errors(trigger(judge, broker="b", annotations={"eventing.knative.dev/injection": "enabled"}))
    assert 'only used for default broker, but non-default broker specified here: "b"' in error
