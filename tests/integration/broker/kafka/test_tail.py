"""Triggers at the head of a topic share one reading; whoever has no room reads for itself until it is there again."""

import asyncio

import pytest

from broker.store.contract import Start
from broker.store.kafka import membership, tail
from dataplane.errors import BadPosition
from tests.integration.broker.kafka.conftest import EARLIEST, Kafka, Trigger, append, record, until


def settled(trigger: Trigger) -> bool:
    return trigger.subscription.lag()[:2] == (0, 0)


async def test_a_record_is_decoded_once_however_many_triggers_there_are(kafka: Kafka, monkeypatch) -> None:
    decoded: list[int] = []
    monkeypatch.setattr(tail, "taken", lambda *of, plain=tail.taken: decoded.append(1) or plain(*of))
    log = await kafka.open()
    triggers = [await Trigger(f"t{i}", type="" if i % 2 else f"type-{i}").on(log) for i in range(6)]
    await until(lambda: all(len(one.subscription.partitions) == 3 for one in triggers))
    for i in range(50):
        await append(log, record(f"e{i}", type=f"type-{i % 6}", partitionkey=f"k{i}"))
    await until(lambda: all(settled(one) for one in triggers))
    assert len(decoded) == 50
    assert [len(one.got) for one in triggers] == [9, 50, 8, 50, 8, 50]


async def test_a_trigger_without_room_falls_behind_alone_and_comes_back_to_the_head(kafka: Kafka) -> None:
    log = await kafka.open()
    slow, fast = await Trigger("slow", hold=True).on(log), await Trigger("fast").on(log)
    slow.capacity = 0
    await until(lambda: len(slow.subscription.partitions) == len(fast.subscription.partitions) == 3)
    for i in range(100):
        await append(log, *(record(f"{i}-{j}", partitionkey=f"k{j}") for j in range(20)))
    await fast.until(2000)
    assert slow.got == []
    assert slow.subscription._behind
    assert sum(len(chunk.items) for chunk in slow.subscription._buffer) <= 2 * tail.FETCH_RECORDS
    assert slow.subscription.lag().waiting == 2000
    slow.capacity, slow.hold = 1000, False
    slow.subscription.more()
    await slow.until(2000)
    await until(lambda: not slow.subscription._behind)
    await append(log, record("last"))
    await slow.until(2001)
    assert sorted(slow.ids) == sorted(fast.ids[:2000] + ["last"])


async def test_a_trigger_that_comes_later_or_is_replayed_does_not_disturb_the_others(kafka: Kafka) -> None:
    log = await kafka.open()
    first = await Trigger("first").on(log)
    await append(log, *(record(f"a{i}", partitionkey=f"k{i}") for i in range(50)))
    await first.until(50)
    second = await Trigger("second").on(log, EARLIEST)
    await second.until(50)
    await second.subscription.seek(Start("earliest"))
    await append(log, *(record(f"b{i}", partitionkey=f"k{i}") for i in range(50)))
    await second.until(150)
    await first.until(100)
    await asyncio.sleep(0.3)
    assert sorted(first.ids) == sorted([f"a{i}" for i in range(50)] + [f"b{i}" for i in range(50)])
    assert sorted(second.ids) == sorted([f"a{i}" for i in range(50)] * 2 + [f"b{i}" for i in range(50)])


async def test_a_replay_from_a_partition_that_there_is_not_is_refused_with_words(kafka: Kafka) -> None:
    trigger = await Trigger("t").on(await kafka.open(partitions=2))
    with pytest.raises(BadPosition, match="names partition 7; there are 2"):
        await trigger.subscription.seek(Start("position", position="7:0"))


async def test_a_filter_that_changes_holds_at_the_head(kafka: Kafka) -> None:
    log = await kafka.open(partitions=1)
    trigger = await Trigger(type="old").on(log)
    await append(log, record("1", type="old"), record("2", type="new"))
    await trigger.until(1)
    trigger.type, trigger.interest = "new", ("type", "new")
    trigger.subscription.changed()
    await append(log, record("3", type="old"), record("4", type="new"))
    await trigger.until(2)
    assert trigger.ids == ["1", "4"]


async def test_mere_reading_is_committed_too(kafka: Kafka, monkeypatch) -> None:
    """So that what matches nothing is not read again, and its lag is seen by Kafka's own tools."""
    monkeypatch.setattr(membership, "MOVED_EVERY_S", 0.1)
    log = await kafka.open(partitions=1)
    trigger = await Trigger(type="never").on(log)
    await append(log, *(record(f"e{i}") for i in range(10)))

    async def committed() -> int:
        return (await log.cluster.committed(log.topic.group_of(trigger.name), kafka.topic))[0].offset

    async with asyncio.timeout(20):
        while await committed() < 10:
            await asyncio.sleep(0.1)
