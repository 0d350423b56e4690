"""What a broker is called in Kafka, and what its owner may say."""

import pytest

from broker.store.contract import LogSettings
from broker.store.kafka.names import topic_of
from broker.store.kafka.security import security_of
from dataplane.errors import StoreFault


def test_names_are_knatives() -> None:
    topic = topic_of("shop/orders", LogSettings(), "kafka:9092")
    assert (topic.name, topic.kept) == ("knative-broker-shop-orders", "knative-dlq-shop-orders")
    assert topic.group_of("shop/bill") == "knative-trigger-shop-bill"
    assert (topic.partitions, topic.replication, topic.bootstrap) == (10, 1, "kafka:9092")
    assert not topic.external


def test_templates_are_read_as_knative_writes_them() -> None:
    config = {
        "brokers.topic.template": "b.{{ .Namespace }}.{{.Name}}",
        "triggers.consumergroup.template": "g-{broker}-{name}",
        "bootstrap.servers": "other:9092",
    }
    topic = topic_of("shop/orders", LogSettings(config=config), "kafka:9092")
    assert topic.name == "b.shop.orders"
    assert topic.group_of("shop/bill") == "g-shop-orders-bill"
    assert topic.bootstrap == "other:9092"


@pytest.mark.parametrize("key", ["external.topic", "kafka.eventing.knative.dev/external.topic"])
def test_an_external_topic_keeps_its_name(key: str) -> None:
    topic = topic_of("shop/orders", LogSettings(config={key: "theirs"}), "kafka:9092")
    assert (topic.name, topic.external) == ("theirs", True)


def test_settings_become_the_topics_configuration() -> None:
    config = {"default.topic.partitions": "4", "default.topic.config.min.insync.replicas": "2"}
    settings = LogSettings(retention_s=60, retention_bytes=5, quota_bytes=4000, config=config)
    topic = topic_of("a/b", settings, "kafka:9092")
    assert topic.configs == {"retention.ms": "60000", "retention.bytes": "1000", "min.insync.replicas": "2"}
    forever = topic_of("a/b", LogSettings(retention_s=0), "kafka:9092")
    assert forever.configs == {"retention.ms": "-1", "retention.bytes": "-1"}


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"default.topic.partitions": "0"}, "default.topic.partitions"),
        ({"default.topic.partitions": "ten"}, "default.topic.partitions"),
        ({"default.topic.replication.factor": "-1"}, "default.topic.replication.factor"),
        ({"brokers.topic.template": "a b"}, "name of a topic"),
        ({"brokers.topic.template": "x" * 250}, "name of a topic"),
    ],
)
def test_what_kafka_would_not_take_is_refused_with_words(config: dict[str, str], word: str) -> None:
    with pytest.raises(StoreFault, match=word):
        topic_of("a/b", LogSettings(config=config), "kafka:9092")


def test_credentials_are_knatives_secret() -> None:
    assert security_of({}) == {"security_protocol": "PLAINTEXT"}
    sasl = {"protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512", "user": "u", "password": "p"}
    assert security_of(sasl) == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }
    assert security_of({"protocol": "SSL"})["ssl_context"].verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"protocol": "TLS"}, "protocol"),
        ({"protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"}, "sasl.mechanism"),
        ({"protocol": "SSL", "ca.crt": "no certificate"}, "ca.crt"),
        ({"protocol": "SSL", "user.crt": "no", "user.key": "no"}, "user.crt"),
    ],
)
def test_credentials_that_are_none_are_refused_with_words(config: dict[str, str], word: str) -> None:
    with pytest.raises(StoreFault, match=word):
        security_of(config)
