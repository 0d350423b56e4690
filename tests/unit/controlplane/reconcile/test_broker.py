"""Broker: configuration, address, conditions by class (spec/eventing.md §12.1-12.3, §28.1)."""

import pytest
from msgspec.structs import replace

from controlplane import compile_eventing as compiled
from controlplane.reconcile.outcome import key_of
from controlplane.reconcile.view import View
from dataplane.resources.core import ConfigMap
from dataplane.resources.eventing import Broker
from dataplane.resources.meta import condition

OF_CHANNELS = [
    "Addressable",
    "DeadLetterSinkResolved",
    "EventPoliciesReady",
    "FilterReady",
    "IngressReady",
    "Ready",
    "TriggerChannelReady",
]
OF_KAFKA = [
    "Addressable",
    "ConfigMapUpdated",
    "ConfigParsed",
    "DataPlaneAvailable",
    "EventPoliciesReady",
    "ProbeSucceeded",
    "Ready",
    "TopicReady",
]


def look(world, name="default"):
    world.look("broker", Broker, name)
    return world.need(Broker, name)


def counted(broker):
    return [one.type for one in broker.status.conditions if not one.severity]


@pytest.mark.parametrize(("class_", "types"), [("MTChannelBasedBroker", OF_CHANNELS), ("SQLite", OF_CHANNELS)])
def test_a_broker_is_ready_when_a_broker_process_says_so(world, class_, types):
    world.broker(class_=class_)
    found = look(world)
    assert world.state(Broker, "default") == ("Unknown", "EndpointSlicesUnavailable")
    assert found.status.address.url == "http://127.0.0.1:8082/default/default"
    assert (found.status.address.name, found.status.addresses) == ("http", (found.status.address,))
    world.report("broker", "default", durability="fsync")
    found = look(world)
    assert world.state(Broker, "default") == ("True", "")
    assert counted(found) == types
    assert found.status.annotations["eventing.dataplane.dev/durability"] == "fsync"
    assert found.status.observed_generation == 1
    assert world.state(Broker, "default", "DeadLetterSinkResolved") == ("True", "DeadLetterSinkNotConfigured")
    assert world.state(Broker, "default", "EventPoliciesReady") == ("True", "OIDCDisabled")


def test_looking_again_changes_nothing(world):
    world.broker()
    world.report("broker", "default")
    before = look(world)
    world.now += 60
    assert look(world) == before


def test_a_store_that_is_away_says_why(world):
    world.broker()
    world.report("broker", "default")
    look(world)
    world.report("broker", "default", ready=False, reason="StoreUnavailable", message="redis://r: refused")
    look(world)
    assert world.state(Broker, "default") == ("False", "StoreUnavailable")
    assert world.state(Broker, "default", "TriggerChannelReady") == ("False", "StoreUnavailable")
    assert world.message(Broker, "default") == "redis://r: refused"


def test_a_report_about_an_earlier_broker_of_the_name_is_not_believed(world):
    world.broker()
    world.report("broker", "default", uid="another")
    look(world)
    assert world.state(Broker, "default")[0] == "Unknown"


def test_without_an_ingress_there_is_no_address(world):
    world.view = View(world.store, world.view.facts._replace(broker_url=""))
    world.view.open()
    world.broker()
    found = look(world)
    assert found.status.address is None
    assert world.state(Broker, "default", "Addressable") == ("False", "NoAddress")
    assert compiled.broker(found) is not None  # what it holds is not deleted because of that


def test_an_external_topic_is_told_to_the_store_of_a_kafka_broker_alone(world):
    world.apply("ConfigMap", "kafka-broker-config", data={"bootstrap.servers": "k:9092"})
    topic = "kafka.eventing.knative.dev/external.topic"
    for name, class_ in (("one", "Kafka"), ("two", "MTChannelBasedBroker")):
        ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "kafka-broker-config"}
        notes = {"eventing.knative.dev/broker.class": class_, topic: "theirs"}
        world.apply("Broker", name, metadata={"annotations": notes}, spec={"config": ref})
        world.report("broker", name)
    assert compiled.broker(look(world, "one")).config == {"bootstrap.servers": "k:9092", topic: "theirs"}
    assert compiled.broker(look(world, "two")).config == {"bootstrap.servers": "k:9092"}


def test_a_kafka_broker_reads_its_config_map(world):
    world.broker(class_="Kafka", config="kafka-broker-config")
    found = look(world)
    assert world.state(Broker, "default", "ConfigParsed") == ("False", "ConfigMapInvalid")
    assert world.message(Broker, "default", "ConfigParsed") == 'ConfigMap "default/kafka-broker-config" not found'
    assert found.status.address is None
    assert compiled.broker(found).waits_for == "its configuration could not be read yet"

    world.apply("ConfigMap", "kafka-broker-config", data={"default.topic.partitions": "3"})
    look(world)
    assert "bootstrap.servers" in world.message(Broker, "default", "ConfigParsed")

    data = {"default.topic.partitions": "3", "bootstrap.servers": "k:9092", "retention_s": "60"}
    world.apply("ConfigMap", "kafka-broker-config", data=data)
    world.report("broker", "default")
    found = look(world)
    assert world.state(Broker, "default") == ("True", "")
    assert counted(found) == OF_KAFKA
    made = compiled.broker(found)
    assert (made.store, made.settings) == ("kafka", {"retention_s": 60.0})
    assert made.config == {"default.topic.partitions": "3", "bootstrap.servers": "k:9092"}

    world.delete(ConfigMap, "kafka-broker-config")
    found = look(world)
    assert world.state(Broker, "default") == ("False", "ConfigMapInvalid")
    assert compiled.broker(found) == made  # goes on with what it had
    assert found.status.address is not None


def test_a_kafka_broker_waits_for_its_secret_and_shows_nothing_of_it(world):
    data = {"bootstrap.servers": "k:9092", "auth.secret.ref.name": "login"}
    world.apply("ConfigMap", "kafka-broker-config", data=data)
    world.broker(class_="Kafka", config="kafka-broker-config")
    found = look(world)
    assert world.state(Broker, "default", "ConfigParsed") == ("False", "SecretNotFound")
    assert world.message(Broker, "default", "ConfigParsed") == 'Secret "default/login" not found'
    assert found.status.address is None
    assert compiled.broker(found).waits_for == 'Secret "default/login" not found'
    world.report("broker", "default", ready=False, reason="StoreUnavailable", message="x")
    look(world)
    assert world.state(Broker, "default") == ("False", "SecretNotFound")
    assert world.state(Broker, "default", "TopicReady") == ("Unknown", "ConfigNotParsed")
    secret = world.apply(
        "Secret", "login", stringData={"user": "me", "password": "s3cret", "bootstrap.servers": "evil:1"}
    )
    assert {key.name for key in world.view.referring(key_of(secret))} == {"default"}
    world.report("broker", "default")
    found = look(world)
    assert world.state(Broker, "default") == ("True", "")
    made = compiled.broker(found, secret)
    assert made.waits_for == ""
    assert made.secret == {"user": "me", "password": "s3cret"}
    assert made.config["bootstrap.servers"] == "k:9092"
    assert "s3cret" not in f"{found} {made!r}"


def test_an_external_topic_is_the_store_s_business(world):
    made = world.broker(class_="Kafka")
    key = "kafka.eventing.knative.dev/external.topic"
    world.put(replace(made, metadata=replace(made.metadata, annotations={**made.metadata.annotations, key: "theirs"})))
    assert compiled.broker(look(world)).config == {key: "theirs"}


def test_the_topic_that_the_store_chose_is_shown_and_is_no_configuration(world):
    world.broker(class_="Kafka")
    before = compiled.broker(look(world))
    world.report("broker", "default", shown={"default.topic": "knative-broker-default-default"})
    found = look(world)
    assert found.status.annotations["default.topic"] == "knative-broker-default-default"
    assert compiled.broker(found) == before
    assert look(world) == found


def test_the_config_map_that_every_knative_manifest_names_need_not_be_there(world):
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "config-br-default-channel",
        "namespace": "knative-eventing",
    }
    world.apply("Broker", "default", spec={"config": config})
    world.report("broker", "default")
    look(world)
    assert world.state(Broker, "default") == ("True", "")


def test_a_template_that_is_not_there_fails_the_channel(world):
    world.broker(config="nowhere")
    look(world)
    assert world.state(Broker, "default") == ("False", "ChannelTemplateFailed")


def test_a_bad_value_of_the_config_map_is_told(world):
    world.apply("ConfigMap", "how", data={"retention_s": "a week"})
    world.broker(class_="Memory", config="how")
    look(world)
    assert world.message(Broker, "default").startswith("retention_s: a number that is not negative is needed")


def test_a_misspelled_key_of_the_config_map_is_told_and_a_foreign_one_is_not(world):
    world.apply("ConfigMap", "how", data={"retention-s": "60"})
    world.broker(class_="Memory", config="how")
    look(world)
    assert world.message(Broker, "default") == "retention-s: no such key; did you mean retention_s?"
    data = {"retention_s": "60", "colour": "blue", "default.topic.config.retention.ms": "1", "user": "u"}
    world.apply("ConfigMap", "how", data=data | {"external.topic": "t", "triggers.consumergroup.template": "g"})
    world.report("broker", "default")
    look(world)
    assert world.state(Broker, "default") == ("True", "")


@pytest.mark.parametrize("key", ["password", "user.key"])
def test_a_secret_in_a_config_map_is_refused_for_it_would_be_shown(world, key):
    world.apply("ConfigMap", "how", data={"bootstrap.servers": "k:9092", key: "s3cret"})
    world.broker(class_="Kafka", config="how")
    found = look(world)
    assert world.message(Broker, "default", "ConfigParsed").startswith(f"{key}: a ConfigMap is no place for it")
    assert "s3cret" not in str(found)


def test_the_sink_of_a_kafka_broker_is_told_and_not_counted(world):
    sink = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "dls"}}
    world.broker(class_="Kafka", delivery={"deadLetterSink": sink})
    world.report("broker", "default")
    look(world)
    assert world.state(Broker, "default") == ("True", "")
    assert world.state(Broker, "default", "DeadLetterSinkResolved")[0] == "False"
    world.broker(class_="Kafka", delivery={"deadLetterSink": {"uri": "http://dls/"}})
    found = look(world)
    assert world.state(Broker, "default", "DeadLetterSinkResolved") == ("True", "")
    assert counted(found) == OF_KAFKA


def test_dead_letter_sink(world):
    world.broker(
        delivery={"deadLetterSink": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "dls"}, "uri": "/x"}}
    )
    assert look(world).status.dead_letter_sink_uri == "http://dls.default.svc.cluster.local/x"
    sink = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "dls"}}
    world.broker(delivery={"deadLetterSink": sink})
    found = look(world)
    assert found.status.dead_letter_sink_uri == ""
    assert world.state(Broker, "default", "DeadLetterSinkResolved") == (
        "False",
        "Unable to get the dead letter sink's URI",
    )
    assert condition(found.status.conditions, "DeadLetterSinkResolved").message == 'Service "default/dls" not found'


def test_another_class_is_somebody_elses(world):
    made = world.broker()
    theirs = replace(
        made, metadata=replace(made.metadata, annotations={"eventing.knative.dev/broker.class": "RabbitMQBroker"})
    )
    world.put(theirs)
    assert look(world).status == theirs.status
