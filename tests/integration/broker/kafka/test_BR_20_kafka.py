"""BR-20: rebalance with deliveries in flight, a broken producer, a lost coordinator, a log that lost its beginning or end.

Idempotent, acks=all; only what is settled is committed; what completes after a partition was taken away is abandoned.
"""

import asyncio
import time

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from broker.store.contract import Failure
from broker.store.kafka import membership
from broker.store.kafka.commit import Commit
from tests.integration.broker.kafka.conftest import EARLIEST, Kafka, Trigger, append, record, until
from tests.servers.kafka.kill import kill
from tests.servers.kafka.server import Server


async def both(kafka: Kafka, **more: object) -> tuple[Trigger, Trigger, object]:
    """The same trigger in two processes, each with some partitions; and the log of the first."""
    one, two = await kafka.open(), await kafka.open()
    first = await Trigger(**more).on(one)
    await until(lambda: len(first.subscription.partitions) == 3)
    second = await Trigger(**more).on(two)
    await until(lambda: 0 < len(second.subscription.partitions) < 3)
    await until(lambda: 0 < len(first.subscription.partitions) < 3)
    return first, second, one


async def test_two_processes_share_a_trigger_and_each_event_goes_to_one(kafka: Kafka) -> None:
    first, second, log = await both(kafka)
    for i in range(60):
        await append(log, record(f"e{i}"))
    await until(lambda: len(first.got) + len(second.got) >= 60)
    await asyncio.sleep(0.3)
    assert sorted(first.ids + second.ids) == sorted(f"e{i}" for i in range(60))
    assert first.ids
    assert second.ids


async def test_a_rebalance_waits_for_what_is_in_flight_and_repeats_nothing_that_ended(kafka: Kafka) -> None:
    one, two = await kafka.open(), await kafka.open()
    first = await Trigger(hold=True).on(one)
    for i in range(30):
        await append(one, record(f"e{i}"))
    await first.until(30)
    second = await Trigger().on(two)
    await asyncio.sleep(1.0)
    assert second.got == [], "the first process is asked to let go, and is not through yet"
    for delivery in first.got:
        first.subscription.settle(delivery)
    await until(lambda: second.subscription.partitions)
    await append(one, *(record(f"k{i}", partitionkey=f"k{i}") for i in range(30)))
    await until(lambda: len(second.got) + len(first.got) >= 60)
    await asyncio.sleep(0.3)
    assert not {id for id in first.ids[30:] + second.ids if id.startswith("e")}


async def test_what_completes_after_its_partition_went_is_repeated_by_the_new_owner(kafka: Kafka, monkeypatch) -> None:
    monkeypatch.setattr(membership, "DRAIN_S", 0.5)
    one, two = await kafka.open(), await kafka.open()
    first = await Trigger(hold=True).on(one)
    for i in range(30):
        await append(one, record(f"e{i}"))
    await first.until(30)
    second = await Trigger().on(two)
    await until(lambda: second.got)
    await asyncio.sleep(0.5)
    moved = set(second.ids)
    for delivery in first.got:
        if delivery.record.event.id in moved:
            first.subscription.park(delivery, Failure(reason="exhausted"))  # too late: it is not ours any more
        else:
            first.subscription.settle(delivery)
    await asyncio.sleep(0.2)
    assert second.subscription.lag().parked == 0
    await first.subscription.close()
    await second.subscription.close()
    third = await Trigger().on(two)
    await append(two, record("marker"))
    await third.until(1)
    await asyncio.sleep(0.5)
    assert 0 < len(moved) < 30
    assert third.ids == ["marker"], "those that stayed were settled by the first, the others by the second"


async def test_deliveries_stay_in_flight_when_their_partition_comes_back(kafka: Kafka, monkeypatch) -> None:
    monkeypatch.setattr(membership, "DRAIN_S", 0.2)
    one, two = await kafka.open(), await kafka.open()
    first = await Trigger(hold=True).on(one)
    for i in range(30):
        await append(one, record(f"e{i}"))
    await first.until(30)
    second = await Trigger(hold=True).on(two)
    await until(lambda: second.got)
    await asyncio.sleep(0.5)
    assert len(first.got) == 30, "what it kept is not handed over a second time"
    assert len(second.got) < 30


async def test_a_rebalance_waits_for_what_is_on_its_way_and_the_rest_moves_in_order(kafka: Kafka) -> None:
    one, two = await kafka.open(partitions=1), await kafka.open(partitions=1)
    first = await Trigger(hold=True, ordered=True, lets_go=True).on(one)
    await append(one, *(record(f"e{i}", partitionkey="k") for i in range(20)))
    await first.until(20)
    first.subscription.later(first.got[1], due_at=time.time() + 300, attempt=4, keep=True)
    first.busy = {"e0"}
    begun = time.monotonic()
    second = await Trigger(hold=True, ordered=True, lets_go=True).on(two)
    await until(lambda: len(first.let) == 19)
    assert not first.subscription.holds(first.got[0]), "what is on its way may end; it may not begin again"
    first.subscription.settle(first.got[0])
    await until(lambda: len(first.got) + len(second.got) == 39)
    assert time.monotonic() - begun < membership.DRAIN_S, "nobody waited for what had not begun"
    again = [(one.record.event.id, one.attempt) for one in (*first.got[20:], *second.got)]
    assert again == [(f"e{i}", 4 if i == 1 else 1) for i in range(1, 20)]


async def test_a_member_that_hears_nothing_for_a_session_lets_go_and_has_it_again_when_it_is_still_one(
    own: Kafka, server: Server
) -> None:
    log = await own.open(partitions=1)
    trigger = await Trigger(hold=True, ordered=True, lets_go=True).on(log)
    await append(log, *(record(f"e{i}", partitionkey="k") for i in range(10)))
    await trigger.until(10)
    trigger.busy = {"e0"}
    server.freeze()
    await until(lambda: not trigger.subscription.holds(trigger.got[1]))
    trigger.subscription.let_go(trigger.got[1])  # as an attempt would that was about to begin
    trigger.let.append(trigger.got[1])
    await until(lambda: len(trigger.let) == 9)
    await asyncio.sleep(0.5)
    assert len(trigger.got) == 10, "nothing is handed over that may be another's"
    server.thaw()
    await trigger.until(19)
    assert trigger.ids[10:] == [f"e{i}" for i in range(1, 10)]
    assert all(trigger.subscription.holds(one) for one in trigger.got[10:])


async def test_order_per_key_holds_when_a_process_dies_in_the_middle(kafka: Kafka) -> None:
    dying = kafka.store()
    one, two = await kafka.open(store=dying), await kafka.open()
    first = await Trigger(ordered=True).on(one, EARLIEST)
    second = await Trigger(ordered=True).on(two, EARLIEST)
    for i in range(100):
        await append(two, *(record(f"{key}-{i}", partitionkey=key) for key in "abcd"))
        if i == 50:
            await kill(dying)
            kafka.stores.remove(dying)
    await until(lambda: {*first.ids, *second.ids} >= {f"{key}-{i}" for key in "abcd" for i in range(100)})
    for key in "abcd":
        seen = [int(id[2:]) for id in first.ids + second.ids if id.startswith(key)]
        news = [n for at, n in enumerate(seen) if n not in seen[:at]]
        assert news == list(range(100)), "each event comes after the one before it, repeated ones aside"


async def test_a_batch_that_kafka_refuses_breaks_no_later_one(kafka: Kafka) -> None:
    """A refused batch leaves a gap in the producer's sequence: without a new producer nothing would be taken again."""
    log = await kafka.open(partitions=1)
    await append(log, record("before"))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, kafka.topic, configs={"max.message.bytes": "5000"})
    await admin.alter_configs([resource])
    await admin.close()
    told: list[object] = []
    log.append([record("large", data=bytes(20_000))], told.append)
    await until(lambda: told)
    assert told[0] is not None
    for i in range(5):
        await append(log, record(f"after-{i}"))
    assert [dict(one.headers)["ce_id"] for one in await kafka.read()] == [
        b"before",
        *(f"after-{i}".encode() for i in range(5)),
    ]


async def test_records_that_retention_took_are_counted_and_the_rest_is_delivered(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = await Trigger(hold=True).on(log)
    trigger.capacity = 0
    await append(log, *(record(f"e{i}") for i in range(20)))
    await trigger.subscription.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(kafka.topic, 0): RecordsToDelete(before_offset=15)})
    await admin.close()
    again = await Trigger().on(log)
    await again.until(5)
    assert again.ids == [f"e{i}" for i in range(15, 20)]
    assert kafka.metric("dataplane_broker_lost_total") == 15


async def test_a_log_that_ends_before_what_was_read_goes_on_at_its_end(kafka: Kafka) -> None:
    """An unclean election took the newest records; what comes now has their offsets."""
    log = await kafka.open(partitions=1)
    await append(log, *(record(f"e{i}") for i in range(5)))
    group = log.topic.group_of("default/t1")
    await log.cluster.commit(group, kafka.topic, {0: Commit(1000, "1 t1 somebody AA==")})
    trigger = await Trigger().on(log)
    await asyncio.sleep(1.0)
    await append(log, record("new"))
    await trigger.until(1)
    assert trigger.ids == ["new"]


async def test_the_coordinator_dies_and_comes_back(own: Kafka, server: Server) -> None:
    log = await own.open()
    trigger = await Trigger().on(log)
    await append(log, record("before"))
    await trigger.until(1)
    server.kill()
    await asyncio.sleep(2.0)  # longer than the group's session
    server.start()
    await append(log, record("after"))
    await trigger.until(2)
    assert trigger.ids == ["before", "after"]
    await until(lambda: not any(partition.dirty for partition in trigger.subscription.partitions.values()))
    await trigger.subscription.close()
    again = await Trigger().on(log)
    await asyncio.sleep(0.5)
    assert again.got == []


async def test_a_process_that_keeps_its_name_has_its_partitions_back_at_once(kafka: Kafka) -> None:
    dying = kafka.store(instance="broker-0")
    dying._house.session_ms = 20_000
    log = await kafka.open(store=dying)
    trigger = await Trigger(hold=True).on(log)
    await append(log, record("a"))
    await trigger.until(1)
    await kill(dying)
    kafka.stores.remove(dying)
    back = kafka.store(instance="broker-0")
    back._house.session_ms = 20_000
    log = await kafka.open(store=back)
    again = await Trigger().on(log)
    async with asyncio.timeout(8):  # the session of the dead one has not ended by then
        await again.until(1)
    await again.subscription.close()
