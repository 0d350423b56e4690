"""What other Kafka clients see of a broker, and what a broker takes from them."""

import pytest

from broker.store.contract import Failure, LogSettings, Start
from dataplane.errors import EventTooLarge, StoreFault
from dataplane.policy.filters import compile_filters
from tests.integration.broker.kafka.conftest import (
    BROKER,
    EARLIEST,
    Kafka,
    Trigger,
    append,
    ended,
    record,
    until,
)

CE = [("ce_specversion", b"1.0"), ("ce_source", b"/other"), ("ce_type", b"t")]


async def test_a_plain_client_reads_cloudevents_in_binary_mode(kafka: Kafka) -> None:
    log = await kafka.open()
    await append(log, record("a", data=b"\x00\xff", datacontenttype="application/octet-stream", partitionkey="k1"))
    [found] = await kafka.read()
    assert found.key == b"k1"
    assert found.value == b"\x00\xff"
    headers = dict(found.headers)
    assert headers["content-type"] == b"application/octet-stream"
    assert {name: headers[name] for name in headers if name.startswith("ce_")} == {
        "ce_specversion": b"1.0",
        "ce_id": b"a",
        "ce_source": b"/s",
        "ce_type": b"t",
        "ce_partitionkey": b"k1",
    }


async def test_what_a_plain_client_writes_is_delivered(kafka: Kafka) -> None:
    log = await kafka.open()
    trigger = await Trigger().on(log)
    await kafka.write(
        {"value": b"1", "headers": [*CE, ("ce_id", b"binary"), ("content-type", b"application/json")]},
        {"value": None, "key": b"k", "headers": [*CE, ("ce_id", b"null")]},
        {
            "value": b'{"specversion":"1.0","id":"structured","source":"/other","type":"t","data":[1]}',
            "headers": [("content-type", b"application/cloudevents+json; charset=UTF-8")],
        },
    )
    await trigger.until(3)
    by_id = {one.record.event.id: one.record for one in trigger.got}
    assert by_id["binary"].event.attributes["datacontenttype"] == "application/json"
    assert by_id["null"].event.data is None
    assert by_id["structured"].event.data == b"[1]"
    assert by_id["binary"].hops == 255


async def test_filters_and_subscribers_see_where_in_the_topic_an_event_stands(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    head, behind = Trigger("head"), Trigger("behind")
    head.matches = behind.matches = compile_filters(
        [{"cesql": "knativekafkaoffset > 0"}, {"exact": {"knativekafkapartition": "0"}}]
    ).matches
    await head.on(log)
    await append(log, *(record(name, knativekafkaoffset="77") for name in ("first", "second", "third")))
    await head.until(2)
    await behind.on(log, EARLIEST)
    await behind.until(2)
    for trigger in (head, behind):
        assert trigger.ids == ["second", "third"]
        assert [one.record.event.typed["knativekafkaoffset"] for one in trigger.got] == [1, 2]
        assert [one.record.event.attributes["knativekafkaoffset"] for one in trigger.got] == ["1", "2"]


async def test_what_is_no_event_is_skipped_and_counted(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = await Trigger().on(log)
    await kafka.write(
        {"value": b"just bytes"},
        {"value": b"x", "headers": [("ce_id", b"\xff"), *CE]},
        {"value": b"x", "headers": [("dataplane_arrived", b"soon"), *CE, ("ce_id", b"1")]},
        {"value": b"x", "headers": [("dataplane_arrived", b"1.0")]},
    )
    await append(log, record("sound"))
    await trigger.until(1)
    assert trigger.ids == ["sound"]
    assert kafka.metric("kn_eventing_kafka_discarded_events_total") == 4
    await until(lambda: trigger.subscription.lag().waiting == 0)


async def test_a_filter_on_a_header_holds_for_structured_records_too(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = await Trigger(type="wanted").on(log)
    structured = b'{"specversion":"1.0","id":"s","source":"/o","type":"wanted"}'
    await kafka.write({"value": structured, "headers": [("content-type", b"application/cloudevents+json")]})
    await append(log, record("other", type="other"), record("mine", type="wanted"))
    await trigger.until(2)
    assert trigger.ids == ["s", "mine"]


async def test_events_of_one_key_stay_in_order_and_events_without_a_key_are_spread(kafka: Kafka) -> None:
    log = await kafka.open()
    trigger = await Trigger(ordered=True).on(log)
    for i in range(20):
        await append(log, *(record(f"{key}-{i}", partitionkey=key) for key in "abcdef"), record(f"none-{i}"))
    await trigger.until(140)
    for key in "abcdef":
        assert [id for id in trigger.ids if id.startswith(f"{key}-")] == [f"{key}-{i}" for i in range(20)]
    partitions = {one.partition for one in await kafka.read() if one.key is None}
    assert len(partitions) == 3


async def test_an_event_that_the_topic_does_not_take_is_413_and_harms_no_other(kafka: Kafka) -> None:
    log = await kafka.open()
    with pytest.raises(EventTooLarge) as refused:
        await append(log, record("small"), record("large", data=bytes(2_000_000)))
    assert refused.value.status == 413
    assert await kafka.read() == []
    await append(log, record("small"))


async def test_an_external_topic_is_neither_made_nor_changed_nor_deleted(kafka: Kafka) -> None:
    name = f"test-{kafka.run}-theirs"
    store = kafka.store()
    with pytest.raises(StoreFault, match="no topic"):
        await kafka.open(store=store, **{"external.topic": name})
    maker = await kafka.open("default/maker", store=store)
    await maker.cluster.make(name, 2, 1, {})
    log = await kafka.open(store=store, partitions=5, **{"kafka.eventing.knative.dev/external.topic": name})
    await append(log, record("a"))
    await store.delete(BROKER)
    assert [dict(one.headers)["ce_id"] for one in await kafka.read(name)] == [b"a"]
    assert await maker.cluster.partitions(name) == [0, 1]
    await maker.cluster.delete([name])
    await store.delete("default/maker")


async def test_what_is_deleted_without_having_been_open_is_what_its_config_names(kafka: Kafka) -> None:
    config = {"brokers.topic.template": f"test-{kafka.run}-of-{{name}}"}
    log = await kafka.open(**config)
    assert log.shown() == {"default.topic": f"test-{kafka.run}-of-orders"}
    topics = [log.topic.name, log.topic.kept]
    await ended(kafka)
    store = kafka.store()
    await store.delete(BROKER, LogSettings(config=config))
    maker = await kafka.open("default/maker", store=store)
    assert [await maker.cluster.partitions(topic) for topic in topics] == [[], []]
    await store.delete("default/maker")


async def test_two_brokers_whose_names_make_one_topic_are_told(kafka: Kafka) -> None:
    store = kafka.store()
    await kafka.open("a-b/c", store=store)
    with pytest.raises(StoreFault, match="share a topic"):
        await kafka.open("a/b-c", store=store)
    await store.delete("a-b/c")


async def test_partitions_that_are_added_are_read_from_their_beginning(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = await Trigger().on(log)
    await append(log, record("before"))
    await trigger.until(1)
    await trigger.subscription.close()
    await log.cluster.make(kafka.topic, 4, 1, {})
    for number in (1, 2, 3):
        headers = [*CE, ("ce_id", f"added-{number}".encode())]
        await kafka.write({"value": b"x", "partition": number, "headers": headers})
    await log._refresh()
    again = await Trigger().on(log)
    await again.until(3)
    assert sorted(again.ids) == ["added-1", "added-2", "added-3"]


async def test_a_trigger_that_was_made_anew_under_its_name_starts_anew(kafka: Kafka) -> None:
    log = await kafka.open()
    first = await Trigger().on(log)
    await append(log, record("a"))
    await first.until(1)
    await first.subscription.close()
    await append(log, record("between"))
    second = Trigger("uid-2")
    second.name = first.name
    await second.on(log)
    await append(log, record("after"))
    await second.until(1)
    assert second.ids == ["after"]


async def test_a_position_of_one_partition_places_the_others_by_its_time(kafka: Kafka) -> None:
    log = await kafka.open()
    for i in range(30):
        await append(log, record(f"e{i}", at=1_795_000_000.0 + i))
    middle = next(one for one in await log.read(EARLIEST) if one.record.event.id == "e15")
    trigger = await Trigger().on(log, Start("position", position=middle.position))
    await trigger.until(15)
    assert sorted(trigger.ids) == sorted(f"e{i}" for i in range(15, 30))


async def test_letters_are_cloudevents_in_a_topic_of_their_own(kafka: Kafka) -> None:
    log = await kafka.open()
    trigger = await Trigger(hold=True).on(log)
    await append(log, record("a", data=b"payload"), record("b", data=None))
    await trigger.until(2)
    for delivery in trigger.got:
        trigger.subscription.park(delivery, Failure(reason="exhausted", code=500))
    await until(lambda: trigger.subscription.lag().parked == 2)
    letters = {one.record.event.id: one.record.event.data for one in await trigger.subscription.letters()}
    assert letters == {"a": b"payload", "b": None}
    found = {dict(one.headers)["ce_id"]: one.value for one in await kafka.read(f"test-{kafka.run}-dlq-default-orders")}
    assert found == {b"a": b"payload", b"b": b""}
