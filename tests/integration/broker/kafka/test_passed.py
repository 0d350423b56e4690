"""What a trigger passed over survives whatever happens to its partitions: every event once (BR-15)."""

import asyncio
import collections
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from broker.store.kafka import passed
from broker.store.kafka.commit import uid_of
from broker.store.kafka.log import KafkaLog
from tests.integration.broker.kafka.conftest import Kafka, Trigger, append, record, until
from tests.integration.broker.kafka.test_nothing_lost import Worker, counted
from tests.servers.kafka.server import Server

OLD = 60


async def behind(log: KafkaLog, trigger: Trigger, count: int = OLD) -> list[str]:
    """It takes nothing while these are appended to all partitions."""
    trigger.capacity = 0
    await trigger.on(log)
    await until(lambda: len(trigger.subscription.partitions) == len(log._lanes))
    ids = [f"old{i}" for i in range(count)]
    for id in ids:
        await append(log, record(id, partitionkey=id))
    return ids


async def back(log: KafkaLog, trigger: Trigger, prefix: str = "new") -> list[str]:
    """It takes what is new; returned is what was appended until every partition has passed over what waited."""
    trigger.fresh_capacity = 1000
    trigger.subscription.newest_first()
    await until(lambda: apart(trigger))
    ids = [f"{prefix}{i}" for i in range(OLD)]
    for id in ids:
        await append(log, record(id, partitionkey=id))
    await until(lambda: set(trigger.ids) >= set(ids))
    return ids


def apart(trigger: Trigger) -> list[int]:
    return [number for number, partition in trigger.subscription.partitions.items() if partition.apart]


async def everything(ids: list[str], *triggers: Trigger) -> None:
    """Each of them once, and nothing waits any more."""
    await until(lambda: {id for trigger in triggers for id in trigger.ids} >= set(ids))
    await asyncio.sleep(0.5)
    got = collections.Counter(id for trigger in triggers for id in trigger.ids)
    assert got == collections.Counter(ids)
    for trigger in triggers:
        await until(lambda trigger=trigger: trigger.subscription.lag()[:2] == (0, 0))
        assert not apart(trigger)


async def test_a_rebalance_hands_over_what_was_passed_over(kafka: Kafka) -> None:
    one, two = await kafka.open(), await kafka.open()
    first, second = Trigger(), Trigger()
    old = await behind(one, first)
    new = await back(one, first)
    second.capacity, second.fresh_capacity = 0, 1000
    await second.on(two)
    await until(lambda: second.subscription.partitions and apart(first) and apart(second))
    assert second.got == [], "what is new was settled by the first"
    later = [f"later{i}" for i in range(20)]
    for id in later:
        await append(two, record(id, partitionkey=id))
    await until(lambda: set(first.ids + second.ids) >= set(later))
    assert not set(first.ids + second.ids) & set(old)
    for trigger in (first, second):
        trigger.capacity = 1000
        trigger.subscription.more()
    await everything([*old, *new, *later], first, second)
    assert first.got
    assert {id for id in second.ids if id.startswith("old")}


async def test_partitions_that_stay_go_on_with_what_was_passed_over(kafka: Kafka) -> None:
    """A rebalance in the middle of it, with deliveries in flight."""
    one, two = await kafka.open(), await kafka.open()
    first, second = Trigger(), Trigger()
    old = await behind(one, first)
    new = await back(one, first)
    first.hold, first.capacity = True, 3
    first.subscription.more()
    await until(lambda: len(first.got) > len(new))
    await second.on(two)
    await asyncio.sleep(0.3)
    first.capacity = 1000
    for delivery in first.got[len(new) :]:
        first.subscription.settle(delivery)
    first.hold = False
    await until(lambda: second.subscription.partitions)
    first.subscription.more()
    await everything([*old, *new], first, second)


async def test_a_process_that_is_killed_leaves_what_it_passed_over(kafka: Kafka, tmp_path: Path) -> None:
    """What is old comes; what is new and was delivered does not come again, but for what its last moments settled."""
    log = await kafka.open()
    file = tmp_path / "delivered"
    worker = Worker(kafka, file, "returns")
    worker.start()
    await worker.ready()
    old = [str(i) for i in range(OLD)]
    for id in old:
        await append(log, record(id, partitionkey=id))
    await asyncio.sleep(0.5)
    assert not counted(file)
    worker.process.send_signal(signal.SIGUSR1)
    new: list[str] = []
    while len(counted(file)) < 30:
        new.append(str(1000 + len(new)))
        await append(log, record(new[-1], partitionkey=new[-1]))
        await asyncio.sleep(0.02)
    await until(lambda: len(counted(file)) >= 30)
    await asyncio.sleep(0.5)
    before = counted(file)
    worker.kill()
    again = await Trigger().on(log)
    await until(lambda: set(again.ids) | before.keys() >= {*old, *new})
    await asyncio.sleep(0.5)
    assert before.keys() <= set(new)
    assert collections.Counter(again.ids) == collections.Counter({*old, *new} - before.keys())


async def test_what_retention_took_of_a_range_is_counted_and_the_rest_comes(kafka: Kafka, monkeypatch) -> None:
    monkeypatch.setattr(passed, "FETCH_RECORDS", 5)
    log = await kafka.open(partitions=1)
    trigger = Trigger()
    old = await behind(log, trigger)
    new = await back(log, trigger)
    await trigger.subscription.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(kafka.topic, 0): RecordsToDelete(before_offset=45)})
    await admin.close()
    again = await Trigger().on(log)
    await everything(old[45:], again)
    assert kafka.metric("dataplane_broker_lost_total") == 45
    assert trigger.ids == new


async def test_a_range_that_retention_took_while_it_was_read_holds_nothing_up(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = Trigger()
    old = await behind(log, trigger)
    new = await back(log, trigger)
    await until(lambda: trigger.subscription._passed.buffer)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(kafka.topic, 0): RecordsToDelete(before_offset=2 * OLD)})
    await admin.close()
    trigger.capacity = 1000
    trigger.subscription.more()
    await everything([*old, *new], trigger)
    assert kafka.metric("dataplane_broker_lost_total") == 0, "it had been read by then"


async def test_a_range_that_ends_in_what_no_reader_sees_ends(kafka: Kafka) -> None:
    """An aborted transaction of somebody else: offsets without records."""
    log = await kafka.open(partitions=1)
    trigger = Trigger()
    old = await behind(log, trigger, 10)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"theirs-{kafka.run}")
    await producer.start()
    await producer.begin_transaction()
    for _ in range(5):
        await producer.send_and_wait(kafka.topic, b"never", partition=0)
    await producer.abort_transaction()
    await producer.stop()
    trigger.fresh_capacity = 1000
    trigger.subscription.newest_first()
    await until(lambda: apart(trigger))
    trigger.capacity = 1000
    trigger.subscription.more()
    await everything(old, trigger)


async def test_kafka_goes_away_while_what_was_passed_over_is_read(own: Kafka, server: Server, monkeypatch) -> None:
    monkeypatch.setattr(passed, "FETCH_RECORDS", 5)
    log = await own.open()
    trigger = Trigger()
    old = await behind(log, trigger)
    new = await back(log, trigger)
    server.kill()
    trigger.capacity = 1000
    trigger.subscription.more()
    await asyncio.sleep(1.0)
    server.start()
    await until(lambda: set(trigger.ids) >= {*old, *new})


async def test_a_trigger_that_became_ordered_begins_with_what_was_passed_over(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = Trigger()
    old = await behind(log, trigger)
    new = await back(log, trigger)
    await trigger.subscription.close()
    ordered = await Trigger(ordered=True).on(log)
    await ordered.until(len(old) + len(new))
    assert ordered.ids == [*old, *new]


async def test_what_was_passed_over_counts_as_lag_for_kafkas_own_tools(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = Trigger()
    await behind(log, trigger)
    await back(log, trigger)
    await asyncio.sleep(0.5)
    commit = (await log.cluster.committed(log.topic.group_of(trigger.name), kafka.topic))[0]
    assert commit.offset == 0
    assert uid_of(commit.metadata) == trigger.key
    assert trigger.subscription.lag().waiting == OLD


@pytest.mark.parametrize("room", [0, 1000])
async def test_a_record_that_waits_for_room_is_kept_when_those_after_it_match_nothing(kafka: Kafka, room: int) -> None:
    log = await kafka.open(partitions=1)
    trigger = Trigger(type="mine")
    trigger.capacity = room
    await trigger.on(log)
    await until(lambda: trigger.subscription.partitions)
    await append(log, record("a", type="mine"))
    for i in range(20):
        await append(log, record(f"b{i}", type="other"))
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    trigger.capacity = 1000
    trigger.subscription.more()
    await trigger.until(1)
    assert trigger.ids == ["a"]
