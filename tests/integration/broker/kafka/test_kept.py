"""What triggers keep beside the log: letters and late deliveries, shared by the processes of a broker."""

import asyncio
import time

from broker.store.contract import Failure, Start
from broker.store.kafka import again as redeliveries
from broker.store.kafka.log import KafkaLog
from tests.integration.broker.kafka.conftest import Kafka, Trigger, append, record, until
from tests.servers.kafka.kill import kill

GIVEN_UP = Failure(reason="exhausted", code=500)


def open_offsets(trigger: Trigger) -> int:
    return sum(len(partition.progress.open) for partition in trigger.subscription.partitions.values())


async def test_the_topic_is_compacted(kafka: Kafka) -> None:
    log = await kafka.open()
    assert (await log.cluster.config(log.topic.kept))["cleanup.policy"] == "compact"


async def test_a_letter_settles_its_place_in_the_log(kafka: Kafka) -> None:
    log = await kafka.open()
    trigger = await Trigger(hold=True).on(log)
    await append(log, record("a"))
    [delivery] = await trigger.until(1)
    trigger.subscription.park(delivery, GIVEN_UP)
    await until(lambda: open_offsets(trigger) == 0)
    assert trigger.subscription.lag()[1:4] == (0, 0, 1)


async def test_a_letter_counts_although_the_process_died_before_its_commit(kafka: Kafka, monkeypatch) -> None:
    monkeypatch.setattr(KafkaLog, "commit_every_s", lambda self: 3600.0)
    dying = kafka.store()
    log = await kafka.open(store=dying)
    trigger = await Trigger(hold=True).on(log)
    await append(log, record("a"), record("b"))
    await trigger.until(2)
    trigger.subscription.park(trigger.got[0], GIVEN_UP)
    await until(lambda: open_offsets(trigger) == 1)
    letter = trigger.got[0].record.event.id
    await kill(dying)
    kafka.stores.remove(dying)
    again = await Trigger().on(await kafka.open())
    await again.until(1)
    await asyncio.sleep(0.5)
    assert again.ids == [{"a": "b", "b": "a"}[letter]]


async def test_what_is_due_much_later_leaves_the_log_and_comes_again_wherever_the_trigger_is_then(
    kafka: Kafka, monkeypatch
) -> None:
    monkeypatch.setattr(redeliveries, "HOLD_S", 0.5)
    dying = kafka.store()
    log = await kafka.open(store=dying)
    trigger = await Trigger(hold=True).on(log)
    await append(log, record("a"), record("b"))
    await trigger.until(2)
    for delivery in trigger.got:
        trigger.subscription.later(delivery, due_at=time.time() + 3.0, attempt=4)
    await until(lambda: open_offsets(trigger) == 0)
    assert trigger.subscription.lag().scheduled == 2
    await kill(dying)
    kafka.stores.remove(dying)
    again = await Trigger().on(await kafka.open())
    await again.until(2)
    assert sorted((one.record.event.id, one.attempt) for one in again.got) == [("a", 4), ("b", 4)]
    await until(lambda: again.subscription.lag().scheduled == 0)


async def test_any_process_lists_redrives_and_discards_letters_and_the_owner_delivers_them(kafka: Kafka) -> None:
    one, two = await kafka.open(), await kafka.open()
    first = await Trigger(hold=True).on(one)
    await append(one, *(record(f"e{i}") for i in range(4)))
    for delivery in await first.until(4):
        first.subscription.park(delivery, GIVEN_UP)
    await until(lambda: first.subscription.lag().parked == 4)
    first.hold = False
    second = await Trigger().on(two)
    await until(lambda: second.subscription.lag().parked == 4)
    letters = await second.subscription.letters()
    assert sorted(one.record.event.id for one in letters) == ["e0", "e1", "e2", "e3"]
    await until(lambda: first.subscription.membership.owns_kept != second.subscription.membership.owns_kept)
    owner, other = (first, second) if first.subscription.membership.owns_kept else (second, first)
    before = len(owner.got)
    assert await other.subscription.redrive([letters[0].id, letters[1].id]) == 2
    await until(lambda: len(owner.got) == before + 2)
    assert await other.subscription.discard() == 2
    await until(lambda: owner.subscription.lag()[1:5] == (0, 0, 0, 0))


async def test_a_seek_moves_every_partition_wherever_it_is(kafka: Kafka) -> None:
    one, two = await kafka.open(), await kafka.open()
    first = await Trigger().on(one)
    await append(one, *(record(f"e{i}", partitionkey=f"k{i}") for i in range(30)))
    await first.until(30)
    second = await Trigger().on(two)
    await until(lambda: len(second.subscription.partitions) in (1, 2))
    await until(lambda: len(first.subscription.partitions) in (1, 2))
    first.got.clear()
    await second.subscription.seek(Start("earliest"))
    await until(lambda: len(first.got) + len(second.got) == 30)
    assert first.got
    assert second.got
