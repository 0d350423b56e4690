"""Every event store keeps broker/store/contract.py. Memory is the executable specification."""

import asyncio
import time
from collections.abc import Callable

import pytest

from broker.store.contract import Delivery, EventLog, EventStore, Failure, LogSettings, Record, Start, Stored
from dataplane.errors import BadPosition, StoreFault, StoreFull
from dataplane.wire.cloudevents import Event
from tests.contract.eventstores import BROKER, Kit
from tests.eventstore import (
    EARLIEST,
    WAIT_S,
    Subscriber,
    append,
    record,
    records,
    settling,
    subscribe,
    until,
)

# ---- append ----


async def test_done_is_called_later_and_never_from_within_the_call(log: EventLog) -> None:
    told: list[StoreFault | None] = []
    log.append([record("a")], told.append)
    assert told == []
    await until(lambda: told)
    assert told == [None]


async def test_every_append_is_told_once(log: EventLog) -> None:
    told: list[int] = []
    for i in range(200):
        log.append([record(f"e{i}")], lambda fault, i=i: told.append(i if fault is None else -1))
    await until(lambda: len(told) == 200)
    await asyncio.sleep(0.02)
    assert sorted(told) == list(range(200))


async def test_a_batch_is_there_as_a_whole_and_in_order(kit: Kit, log: EventLog) -> None:
    await append(log, *records(50))
    found = [one.record.event.id for one in await log.read(EARLIEST)]
    assert sorted(found) == sorted(f"e{i}" for i in range(50))
    if kit.one_order:
        assert found == [f"e{i}" for i in range(50)]


async def test_an_empty_batch_is_confirmed(log: EventLog) -> None:
    await append(log)
    assert await log.read(EARLIEST) == []


async def test_a_record_comes_out_as_it_went_in(kit: Kit, log: EventLog) -> None:
    whole = Record(
        event=Event(
            {
                "specversion": "1.0",
                "id": "ünï/\x7fcode",
                "source": "urn:x",
                "type": "t",
                "datacontenttype": 'text/plain; charset="x"',
                "time": "2026-11-27T10:00:00.123456789+01:00",
                "subject": "🎉 %41",
                "anumber": "5",
                "abool": "true",
            },
            bytes(range(256)),
            {"anumber": 5, "abool": True},
        ),
        arrived_at=1_800_000_000.25,
        hops=7,
        headers=(("traceparent", "00-a-b-01"), ("x-request-id", "1"), ("x-request-id", "2")),
        expires_at=4_000_000_000.5,
    )
    nothing = record("nothing", data=None)
    empty = record("empty", data=b"")
    implied = Record(
        event=Event({"specversion": "1.0", "id": "i", "source": "s", "type": "t"}, b"1", {}, True), arrived_at=1.0
    )
    old = Record(
        event=Event({"specversion": "0.3", "id": "o", "source": "s", "type": "t", "schemaurl": "http://x"}, b""),
        arrived_at=2.0,
    )
    sent = [whole, nothing, empty, implied, old]
    subscriber = await subscribe(log, settling())
    await append(log, *sent)
    await subscriber.until(len(sent))
    got = {delivery.record.event.id: kit.unmarked(delivery.record) for delivery in subscriber.got}
    assert got == {one.event.id: one for one in sent}
    read = {one.record.event.id: one.record for one in await log.read(EARLIEST)}
    assert read == got


async def test_a_record_comes_back_from_the_store_as_it_went_in(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart")
    typed = Record(
        event=Event(
            {"specversion": "1.0", "id": "a", "source": "s", "type": "t", "n": "5"}, b"\x00\xff", {"n": 5}, True
        ),
        arrived_at=1_800_000_000.25,
        hops=7,
        headers=(("traceparent", "00-a-b-01"),),
        expires_at=4_000_000_000.5,
    )
    await append(log, typed, record("none", data=None), record("empty", data=b""))
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    found = {one.record.event.id: one.record for one in await log.read(EARLIEST)}
    assert found["a"] == typed
    assert found["none"].event.data is None
    assert found["empty"].event.data == b""


async def test_a_large_record_is_kept(log: EventLog) -> None:
    data = bytes(1000) * 900
    subscriber = await subscribe(log, settling())
    await append(log, record("large", data=data))
    await subscriber.until(1)
    assert subscriber.got[0].record.event.data == data


async def test_brokers_share_nothing(store: EventStore) -> None:
    one, two = await store.open("a/x", LogSettings()), await store.open("b/x", LogSettings())
    first, second = await subscribe(one, settling()), await subscribe(two, settling())
    await append(one, record("one"))
    await append(two, record("two"))
    await first.until(1)
    await second.until(1)
    assert (first.ids, second.ids) == (["one"], ["two"])


async def test_opening_twice_is_the_same_log(store: EventStore, log: EventLog) -> None:
    again = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(again, settling())
    await append(log, record("a"))
    await subscriber.until(1)


# ---- feeding ----


async def test_a_trigger_gets_each_matching_record_once_as_attempt_1(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling(type="wanted"))
    for i in range(20):
        await append(log, record(f"y{i}", type="wanted"), record(f"n{i}", type="other"))
    await subscriber.stays_at(20, kit.quiet_s)
    assert sorted(subscriber.attempts) == sorted((f"y{i}", 1) for i in range(20))


async def test_records_come_in_log_order(kit: Kit, log: EventLog) -> None:
    kit.needs("one_order")
    subscriber = await subscribe(log, settling(room=7))
    for i in range(10):
        await append(log, *records(10, f"{i}-"))
    await subscriber.until(100)
    assert subscriber.ids == [f"{i}-{j}" for i in range(10) for j in range(10)]


async def test_no_more_is_handed_over_than_there_is_room_for(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(room=3))
    await append(log, *records(10))
    await subscriber.stays_at(3, kit.quiet_s)
    subscriber.settle(subscriber.got[1])
    await subscriber.stays_at(4, kit.quiet_s)
    for delivery in list(subscriber.got):
        if delivery is not subscriber.got[1]:
            subscriber.settle(delivery)
    await subscriber.stays_at(7, kit.quiet_s)


async def test_room_that_opens_without_a_settle_is_used(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(room=0))
    await append(log, *records(5))
    await subscriber.stays_at(0, kit.quiet_s)
    subscriber.capacity = 2
    subscriber.subscription.more()
    await subscriber.stays_at(2, kit.quiet_s)


async def test_what_a_full_trigger_did_not_take_stays_on_the_log(kit: Kit, log: EventLog) -> None:
    slow = await subscribe(log, Subscriber("slow", room=1))
    fast = await subscribe(log, settling("fast"))
    for i in range(30):
        await append(log, *records(20, f"{i}-"))
    await fast.until(600)
    assert len(slow.got) == 1
    slow.capacity = 50
    slow.answer = slow.settle
    slow.settle(slow.got[0])
    await slow.until(600)
    assert sorted(slow.ids) == sorted(fast.ids)


async def test_two_triggers_are_independent(kit: Kit, log: EventLog) -> None:
    one, two = await subscribe(log, settling("one")), await subscribe(log, Subscriber("two"))
    await append(log, *records(3))
    await one.until(3)
    await two.until(3)
    await two.subscription.close()
    await append(log, record("more"))
    await one.until(4)
    two = await subscribe(log, settling("two"))
    await two.until(4)
    assert sorted(two.ids) == ["e0", "e1", "e2", "more"]


async def test_a_hundred_triggers_get_the_same_record(log: EventLog) -> None:
    many = [await subscribe(log, settling(f"t{i}")) for i in range(20)]
    await append(log, record("a"))
    for subscriber in many:
        await subscriber.until(1)


async def test_a_filter_that_changes_holds_for_what_is_read_from_then_on(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling(type="old"))
    await append(log, record("1", type="old"), record("2", type="new"))
    await subscriber.until(1)
    subscriber.type, subscriber.interest = "new", ("type", "new")
    subscriber.subscription.changed()
    await append(log, record("3", type="old"), record("4", type="new"))
    await subscriber.stays_at(2, kit.quiet_s)
    assert subscriber.ids == ["1", "4"]


# ---- settling ----


async def test_what_was_settled_does_not_come_again(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling())
    await append(log, *records(10))
    await subscriber.until(10)
    await subscriber.subscription.close()
    again = await subscribe(log, settling())
    await again.stays_at(0, kit.quiet_s)


async def test_settled_out_of_order_only_the_others_come_again(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(10))
    await subscriber.until(10)
    for delivery in reversed(subscriber.got):
        if delivery.record.event.id not in ("e2", "e5"):
            subscriber.settle(delivery)
    await subscriber.subscription.close()
    again = await subscribe(log, settling())
    await again.stays_at(2, kit.quiet_s)
    assert sorted(again.ids) == ["e2", "e5"]


async def test_after_a_close_nothing_is_handed_over_and_what_the_consumer_has_comes_to_the_next_one(
    kit: Kit, log: EventLog
) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    [delivery] = await subscriber.until(1)
    await subscriber.subscription.close()
    await append(log, record("b"))
    subscriber.subscription.settle(delivery)  # too late: it counts for nothing
    subscriber.subscription.more()
    await subscriber.stays_at(1, kit.quiet_s)
    again = await subscribe(log, settling())
    await again.stays_at(2, kit.quiet_s)
    assert sorted(again.ids) == ["a", "b"]


async def test_a_trigger_with_progress_goes_on_where_it_was_whatever_start_says(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling())
    await append(log, record("a"))
    await subscriber.until(1)
    await subscriber.subscription.close()
    await append(log, record("b"))
    again = await subscribe(log, settling(), EARLIEST)
    await again.stays_at(1, kit.quiet_s)
    assert again.ids == ["b"]
    await again.subscription.close()
    await append(log, record("c"))
    third = await subscribe(log, settling(), Start("latest"))
    await third.stays_at(1, kit.quiet_s)


# ---- later ----


async def test_a_delivery_given_back_comes_again_at_its_time_with_its_attempt(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"), record("b"))
    await subscriber.until(2)
    first = next(one for one in subscriber.got if one.record.event.id == "a")
    due = asyncio.get_running_loop().time() + 0.3
    subscriber.later(first, in_s=0.3, attempt=2)
    await subscriber.until(3)
    assert asyncio.get_running_loop().time() >= due - 0.05
    assert subscriber.attempts[2] == ("a", 2)
    assert subscriber.got[2].position == first.position
    subscriber.later(subscriber.got[2], attempt=7)
    await subscriber.until(4)
    assert subscriber.attempts[3] == ("a", 7)
    subscriber.settle(subscriber.got[3])
    await subscriber.stays_at(4, kit.quiet_s)


async def test_what_is_due_waits_for_room(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(room=1))
    await append(log, record("a"), record("b"))
    await subscriber.until(1)
    subscriber.capacity = 0
    subscriber.later(subscriber.got[0])
    await subscriber.stays_at(1, kit.quiet_s)
    subscriber.capacity = 5
    subscriber.subscription.more()
    await subscriber.until(3)
    assert sorted(subscriber.attempts) == [("a", 1), ("a", 2), ("b", 1)]


async def test_many_given_back_all_come_again_nearest_first(log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(100))
    await subscriber.until(100)
    for delivery in list(subscriber.got):
        number = int(delivery.record.event.id[1:])
        subscriber.later(delivery, in_s=0.2 + (number % 3) * 0.25)
    await subscriber.until(200)
    assert sorted(subscriber.ids[100:]) == sorted(subscriber.ids[:100])
    assert [int(id[1:]) % 3 for id in subscriber.ids[100:]] == sorted(int(id[1:]) % 3 for id in subscriber.ids[100:])


async def test_what_an_ordered_consumer_keeps_is_not_handed_over_again(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(ordered=True))
    await append(log, record("a"))
    [delivery] = await subscriber.until(1)
    subscriber.later(delivery, attempt=2, keep=True)
    await subscriber.stays_at(1, kit.quiet_s)
    subscriber.later(delivery, attempt=3, keep=True)
    subscriber.settle(delivery)
    await subscriber.subscription.close()
    again = await subscribe(log, settling(ordered=True))
    await again.stays_at(0, kit.quiet_s)


async def test_an_ordered_consumer_gets_its_scheduled_ones_at_once_after_a_restart_in_log_order(
    kit: Kit, store: EventStore, log: EventLog
) -> None:
    kit.needs("survives_restart", "schedule_survives")
    subscriber = await subscribe(log, Subscriber(ordered=True))
    await append(log, *records(4))
    await subscriber.until(4)
    due = time.time() + 300
    by_id = {delivery.record.event.id: delivery for delivery in subscriber.got}
    subscriber.subscription.later(by_id["e1"], due_at=due, attempt=3, keep=True)
    subscriber.settle(by_id["e0"])
    await append(log, record("last"))
    await subscriber.until(5)
    await kit.durable(log)
    store = await kit.restart(store)
    log = await store.open(BROKER, LogSettings())
    again = await subscribe(log, Subscriber(ordered=True))
    await again.until(5)
    if kit.one_order:
        assert again.attempts == [("e1", 3), ("e2", 1), ("e3", 1), ("last", 1), ("marker", 1)]
    [waits] = [delivery for delivery in again.got if delivery.record.event.id == "e1"]
    assert abs(waits.due_at - due) < 1


# ---- let go ----


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_the_consumer_has_is_its_own_and_what_it_lets_go_comes_again_with_its_attempt(
    kit: Kit, log: EventLog, ordered: bool
) -> None:
    subscriber = await subscribe(log, Subscriber(ordered=ordered))
    await append(log, *records(6))
    await subscriber.until(6)
    got = {delivery.record.event.id: delivery for delivery in subscriber.got}
    assert all(subscriber.subscription.holds(delivery) for delivery in got.values())
    subscriber.settle(got["e0"])
    if ordered:
        subscriber.later(got["e1"], attempt=3, keep=True)
    for id in ("e1", "e2", "e3", "e4"):
        subscriber.let_go(got[id])
    await subscriber.until(10)
    again = subscriber.attempts[6:]
    expected = [("e1", 3 if ordered else 1), ("e2", 1), ("e3", 1), ("e4", 1)]
    assert again == expected if ordered and kit.one_order else sorted(again) == expected
    assert all(subscriber.subscription.holds(delivery) for delivery in subscriber.got[6:])
    for delivery in (got["e5"], *subscriber.got[6:]):
        subscriber.settle(delivery)
    await subscriber.stays_at(10, kit.quiet_s)
    await subscriber.subscription.close()
    later = await subscribe(log, settling(ordered=ordered))
    await later.stays_at(0, kit.quiet_s)


async def test_what_was_let_go_goes_to_the_next_one(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(ordered=True))
    await append(log, *records(3))
    await subscriber.until(3)
    subscriber.capacity = 0
    for delivery in subscriber.got[:3]:
        subscriber.let_go(delivery)
    await subscriber.subscription.close()
    again = await subscribe(log, Subscriber(ordered=True))
    await again.until(3)
    if kit.one_order:
        assert again.attempts == [("e0", 1), ("e1", 1), ("e2", 1)]


# ---- delayed ----


async def test_a_delayed_record_is_handed_over_at_its_time(kit: Kit, log: EventLog) -> None:
    came_at: dict[str, float] = {}
    subscriber = Subscriber()

    def answer(delivery: Delivery) -> None:
        came_at[delivery.record.event.id] = time.time()
        subscriber.settle(delivery)

    subscriber.answer = answer
    await subscribe(log, subscriber)
    due_at = time.time() + 0.4
    await append(log, record("later", not_before=due_at), record("now"))
    await subscriber.until(2)
    assert sorted(subscriber.attempts) == [("later", 1), ("now", 1)]
    assert came_at["later"] >= due_at - 0.05
    await subscriber.stays_at(2, kit.quiet_s)


async def test_a_delayed_record_needs_no_room_while_it_waits(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(room=1))
    await append(log, *records(5, "later", not_before=time.time() + 600), record("now"))
    await subscriber.stays_at(1, kit.quiet_s)
    assert subscriber.ids == ["now"]
    assert subscriber.subscription.lag().scheduled == 5


# ---- letters ----


async def test_a_parked_delivery_is_a_letter_and_does_not_come_again(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a", data=b"payload"))
    [delivery] = await subscriber.until(1)
    subscriber.park(delivery, code=503, dest="http://x", data=b"sorry", message="no", attempts=3, at=1.5)
    await until(lambda: subscriber.subscription.lag().parked == 1)
    [letter] = await subscriber.subscription.letters()
    assert letter.record == delivery.record
    assert letter.position == delivery.position
    assert letter.kept == "parked"
    assert letter.failure == Failure(
        reason="exhausted", code=503, dest="http://x", data=b"sorry", message="no", attempts=3, at=1.5
    )
    await subscriber.subscription.close()
    again = await subscribe(log, settling())
    await again.stays_at(0, kit.quiet_s)
    assert [one.record.event.id for one in await again.subscription.letters()] == ["a"]


async def test_letters_are_listed_oldest_first_by_kind_and_in_pages(log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    for i in range(6):
        await append(log, record(f"e{i}"))
        await subscriber.until(i + 1)
        subscriber.park(subscriber.got[i], "dead-lettered" if i % 2 else "parked")
    await until(lambda: subscriber.subscription.lag()[3:5] == (3, 3))
    letters = subscriber.subscription.letters
    assert [one.record.event.id for one in await letters()] == ["e0", "e1", "e2", "e3", "e4", "e5"]
    assert [one.record.event.id for one in await letters(kept="dead-lettered")] == ["e1", "e3", "e5"]
    page = await letters(kept="parked", limit=2)
    assert [one.record.event.id for one in page] == ["e0", "e2"]
    assert [one.record.event.id for one in await letters(kept="parked", after=page[-1].id)] == ["e4"]


async def parked(log: EventLog, count: int, kept: str = "parked") -> Subscriber:
    subscriber = await subscribe(log, Subscriber())
    for i in range(count):
        await append(log, record(f"e{i}"))
        await subscriber.until(i + 1)
        subscriber.park(subscriber.got[i], kept)
    await until(lambda: sum(subscriber.subscription.lag()[3:5]) == count)
    subscriber.got.clear()
    return subscriber


async def test_redriven_letters_come_again_as_attempt_1_and_are_forgotten(kit: Kit, log: EventLog) -> None:
    subscriber = await parked(log, 3)
    subscriber.answer = subscriber.settle
    assert await subscriber.subscription.redrive() == 3
    await subscriber.stays_at(3, kit.quiet_s)
    assert sorted(subscriber.attempts) == [("e0", 1), ("e1", 1), ("e2", 1)]
    assert await subscriber.subscription.letters() == []
    await until(lambda: subscriber.subscription.lag().in_flight == 0)


async def test_redrive_and_discard_take_the_letters_that_were_named(kit: Kit, log: EventLog) -> None:
    subscriber = await parked(log, 4)
    ids = {one.record.event.id: one.id for one in await subscriber.subscription.letters()}
    assert await subscriber.subscription.redrive([ids["e1"], "999999"]) == 1
    assert await subscriber.subscription.discard([ids["e2"]]) == 1
    assert await subscriber.subscription.redrive([ids["e0"]], kept="dead-lettered") == 0
    await subscriber.stays_at(1, kit.quiet_s)
    assert subscriber.ids == ["e1"]
    assert [one.record.event.id for one in await subscriber.subscription.letters()] == ["e0", "e3"]
    assert await subscriber.subscription.discard() == 2
    assert await subscriber.subscription.letters() == []


async def test_a_redriven_letter_that_fails_again_is_a_letter_again(kit: Kit, log: EventLog) -> None:
    subscriber = await parked(log, 1)
    assert await subscriber.subscription.redrive() == 1
    await subscriber.until(1)
    subscriber.later(subscriber.got[0], attempt=2)
    await subscriber.until(2)
    assert subscriber.attempts[1] == ("e0", 2)
    subscriber.park(subscriber.got[1], message="again")
    await until(lambda: subscriber.subscription.lag().parked == 1)
    [letter] = await subscriber.subscription.letters()
    assert letter.failure.message == "again"
    assert letter.record.event.id == "e0"


async def test_a_redriven_letter_that_was_not_settled_comes_again_after_a_close(kit: Kit, log: EventLog) -> None:
    subscriber = await parked(log, 2)
    assert await subscriber.subscription.redrive() == 2
    await subscriber.until(2)
    subscriber.settle(next(one for one in subscriber.got if one.record.event.id == "e0"))
    await subscriber.subscription.close()
    again = await subscribe(log, settling())
    await again.stays_at(1, kit.quiet_s)
    assert again.ids == ["e1"]


async def test_dead_lettered_ones_are_redriven_apart(kit: Kit, log: EventLog) -> None:
    subscriber = await parked(log, 2, "dead-lettered")
    assert await subscriber.subscription.redrive() == 0
    assert await subscriber.subscription.redrive(kept="dead-lettered") == 2
    await subscriber.until(2)


async def test_letters_beyond_the_bound_go_oldest_first(kit: Kit, store: EventStore) -> None:
    log = await store.open(BROKER, LogSettings(parked_max=3, dead_lettered_max=2))
    subscriber = await subscribe(log, Subscriber())
    for i in range(6):
        await append(log, record(f"p{i}"), record(f"d{i}"))
        await subscriber.until(2 * i + 2)
        for delivery in subscriber.got[2 * i :]:
            subscriber.park(delivery, "parked" if delivery.record.event.id[0] == "p" else "dead-lettered")
    await until(lambda: subscriber.subscription.lag().in_flight == 0)
    await kit.durable(log)
    letters = await subscriber.subscription.letters()
    assert sorted(one.record.event.id for one in letters) == ["d4", "d5", "p3", "p4", "p5"]


# ---- replies ----


async def test_a_reply_is_appended_and_its_cause_settled(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("cause"))
    [cause] = await subscriber.until(1)
    told: list[StoreFault | None] = []
    subscriber.holds -= 1
    subscriber.subscription.settle_with(cause, record("reply"), told.append)
    assert told == []
    await until(lambda: told)
    assert told == [None]
    await subscriber.until(2)
    assert subscriber.ids == ["cause", "reply"]
    await subscriber.subscription.close()
    again = await subscribe(log, settling())
    await again.stays_at(1, kit.quiet_s)
    assert again.ids == ["reply"]


async def test_the_reply_to_a_redelivery_settles_it(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(type="cause"))
    await append(log, record("cause", type="cause"))
    await subscriber.until(1)
    subscriber.later(subscriber.got[0])
    await subscriber.until(2)
    told: list[StoreFault | None] = []
    subscriber.subscription.settle_with(subscriber.got[1], record("reply"), told.append)
    await until(lambda: told == [None])
    await subscriber.subscription.close()
    again = await subscribe(log, settling(type="cause"))
    await again.stays_at(0, kit.quiet_s)


async def test_a_reply_that_was_not_appended_leaves_its_cause_with_the_consumer(kit: Kit, store: EventStore) -> None:
    kit.needs("quota")
    log = await store.open(BROKER, LogSettings(quota_bytes=40_000))
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("cause"))
    [cause] = await subscriber.until(1)
    told: list[StoreFault | None] = []
    subscriber.subscription.settle_with(cause, record("reply", data=bytes(100_000)), told.append)
    await until(lambda: told)
    assert isinstance(told[0], StoreFull)
    assert subscriber.subscription.lag().in_flight == 1
    subscriber.settle(cause)
    await until(lambda: subscriber.subscription.lag().in_flight == 0)
    assert [one.record.event.id for one in await log.read(EARLIEST)] == ["cause"]


# ---- start, seek ----


async def test_a_new_trigger_starts_at_the_end_unless_told_otherwise(kit: Kit, log: EventLog) -> None:
    await append(log, record("before"))
    subscriber = await subscribe(log, settling())
    await append(log, record("after"))
    await subscriber.stays_at(1, kit.quiet_s)
    assert subscriber.ids == ["after"]


async def test_every_record_appended_after_subscribe_returned_comes(log: EventLog) -> None:
    for i in range(5):
        subscriber = settling(f"t{i}")
        await subscribe(log, subscriber)
        await append(log, record(f"e{i}"))
        await subscriber.until(1)
        assert subscriber.ids[0] == f"e{i}"


@pytest.mark.parametrize("at", ["earliest", "time", "position"])
async def test_a_new_trigger_starts_where_it_is_told(kit: Kit, log: EventLog, at: str) -> None:
    now = time.time()
    for i in range(6):
        await append(log, record(f"e{i}", at=now - 600 + i * 100))
    stored = {one.record.event.id: one for one in await log.read(EARLIEST)}
    if at == "time" and not kit.wall_clock:
        pytest.skip("times are the server's")
    start = {
        "earliest": EARLIEST,
        "time": Start("time", time_s=now - 350),
        "position": Start("position", position=stored["e3"].position),
    }[at]
    wanted = ["e0", "e1", "e2", "e3", "e4", "e5"] if at == "earliest" else ["e3", "e4", "e5"]
    subscriber = await subscribe(log, settling(), start)
    await subscriber.stays_at(len(wanted), kit.quiet_s)
    assert sorted(subscriber.ids) == wanted


async def test_a_position_that_is_none_is_refused_with_words(log: EventLog) -> None:
    with pytest.raises(BadPosition, match="position"):
        await subscribe(log, settling(), Start("position", position="somewhere"))


async def test_a_replay_hands_over_again_what_was_settled(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling())
    await append(log, *records(5))
    await subscriber.until(5)
    await subscriber.subscription.seek(EARLIEST)
    await subscriber.stays_at(10, kit.quiet_s)
    assert sorted(subscriber.ids[5:]) == [f"e{i}" for i in range(5)]
    await append(log, record("after"))
    await subscriber.stays_at(11, kit.quiet_s)


async def test_a_replay_from_a_position_and_a_time(kit: Kit, log: EventLog) -> None:
    kit.needs("one_order", "wall_clock")
    now = time.time()
    subscriber = await subscribe(log, settling())
    for i in range(4):
        await append(log, record(f"e{i}", at=now - 400 + i * 100))
    await subscriber.until(4)
    third = subscriber.got[2].position
    subscriber.got.clear()
    await subscriber.subscription.seek(Start("position", position=third))
    await subscriber.stays_at(2, kit.quiet_s)
    await subscriber.subscription.seek(Start("time", time_s=now - 150))
    await subscriber.stays_at(3, kit.quiet_s)
    assert subscriber.ids == ["e2", "e3", "e3"]


async def test_a_seek_to_the_end_skips_what_waits(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(room=1))
    await append(log, *records(20))
    await subscriber.until(1)
    await subscriber.subscription.seek(Start("latest"))
    subscriber.capacity = 100
    subscriber.subscription.more()
    subscriber.settle(subscriber.got[0])
    await append(log, record("after"))
    await subscriber.stays_at(2, kit.quiet_s)
    assert subscriber.ids[1] == "after"


async def test_what_is_in_flight_at_a_seek_is_settled_normally(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(3))
    await subscriber.until(3)
    held = list(subscriber.got)
    await subscriber.subscription.seek(Start("latest"))
    for delivery in held:
        subscriber.settle(delivery)
    await subscriber.subscription.close()
    again = await subscribe(log, settling())
    await again.stays_at(0, kit.quiet_s)


# ---- for people ----


async def test_read_shows_the_newest_or_from_a_start(kit: Kit, log: EventLog) -> None:
    kit.needs("one_order")
    for i in range(8):
        await append(log, record(f"e{i}"))

    def ids(stored: list[Stored]) -> list[str]:
        return [one.record.event.id for one in stored]

    assert ids(await log.read(Start("latest"), limit=3)) == ["e5", "e6", "e7"]
    first = await log.read(EARLIEST, limit=2)
    assert ids(first) == ["e0", "e1"]
    assert ids(await log.read(Start("position", position=first[1].position), limit=2)) == ["e1", "e2"]


async def test_find_knows_an_event_by_its_id_newest_first(log: EventLog) -> None:
    await append(log, record("x", source="/1"))
    await append(log, record("y"))
    await append(log, record("x", source="/2"))
    found = await log.find("x")
    assert [one.record.event.source for one in found] == ["/2", "/1"]
    assert [one.record.event.source for one in await log.find("x", source="/1")] == ["/1"]
    assert len(await log.find("x", limit=1)) == 1
    assert await log.find("nobody") == []


async def test_size_grows_with_what_is_held(log: EventLog) -> None:
    before = log.size()
    await append(log, *records(10, data=bytes(1000)))
    await until(lambda: log.size()[0] >= before[0] + 10)
    assert log.size()[1] >= before[1] + 10_000


async def test_lag_says_how_far_behind_a_trigger_is(log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber(room=4))
    assert subscriber.subscription.lag() == (0, 0, 0, 0, 0, 0.0)
    now = time.time()
    for i in range(10):
        await append(log, record(f"e{i}", at=now - 100 + i))
    await subscriber.until(4)
    await until(lambda: subscriber.subscription.lag().waiting == 6)
    lag = subscriber.subscription.lag()
    assert (lag.in_flight, lag.scheduled) == (4, 0)
    oldest = min(delivery.record.arrived_at for delivery in subscriber.got)
    assert lag.oldest_at == pytest.approx(oldest, abs=1)
    subscriber.capacity = 0
    subscriber.later(subscriber.got[0], in_s=600)
    subscriber.park(subscriber.got[1])
    subscriber.park(subscriber.got[2], "dead-lettered")
    await until(lambda: subscriber.subscription.lag()[1:5] == (1, 1, 1, 1))


# ---- forgetting ----


async def test_a_forgotten_trigger_begins_anew(kit: Kit, log: EventLog) -> None:
    subscriber = await parked(log, 1)
    await append(log, record("unread"))
    await subscriber.subscription.close()
    await log.forget("t1")
    await log.forget("nobody")
    again = await subscribe(log, settling())
    await again.stays_at(0, kit.quiet_s)
    assert await again.subscription.letters() == []


async def test_a_deleted_broker_is_gone_with_everything(kit: Kit, store: EventStore, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    await subscriber.until(1)
    await subscriber.subscription.close()
    await store.delete(BROKER)
    await store.delete("nobody/nothing")
    log = await store.open(BROKER, LogSettings())
    again = await subscribe(log, settling(), EARLIEST)
    await again.stays_at(0, kit.quiet_s)
    assert await log.read(EARLIEST) == []
    await append(log, record("b"))
    await again.until(1)


# ---- dedup ----


async def test_a_second_event_within_the_window_is_confirmed_and_not_kept(kit: Kit, store: EventStore) -> None:
    kit.needs("dedup")
    log = await store.open(BROKER, LogSettings(dedup_window_s=60))
    subscriber = await subscribe(log, settling())
    await append(log, record("a"), record("a"), record("a", source="/other"))
    await append(log, record("a"))
    await append(log, record("b"))
    await subscriber.stays_at(3, kit.quiet_s)
    assert sorted(subscriber.ids) == ["a", "a", "b"]
    if kit.wall_clock:
        kit.ahead_s += 61
        await append(log, record("a"))
        await subscriber.stays_at(4, kit.quiet_s)


async def test_BR_21_the_same_id_twice_is_two_events_without_a_window(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling())
    await append(log, record("a"), record("a"))
    await append(log, record("a"))
    await subscriber.stays_at(3, kit.quiet_s)


async def test_BR_21_the_window_outlives_a_restart(kit: Kit, store: EventStore) -> None:
    kit.needs("dedup", "survives_restart")
    log = await store.open(BROKER, LogSettings(dedup_window_s=60))
    await append(log, record("a"))
    log = await (await kit.restart(store)).open(BROKER, LogSettings(dedup_window_s=60))
    await append(log, record("a"))
    assert len(await log.read(EARLIEST)) == 1


# ---- bounds ----


async def test_settled_records_go_when_they_are_old(kit: Kit, store: EventStore) -> None:
    kit.needs("retention", "wall_clock")
    log = await store.open(BROKER, LogSettings(retention_s=60))
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(10))
    await subscriber.until(10)
    for delivery in subscriber.got:
        if delivery.record.event.id != "e7":
            subscriber.settle(delivery)
    kit.ahead_s += 61
    await append(log, record("young", at=kit.clock.wall()))
    await until_read(log, lambda ids: "e0" not in ids)
    assert {"e7", "young"} <= set(await read_ids(log)), "what is not settled stays"
    subscriber.settle(next(one for one in subscriber.got if one.record.event.id == "e7"))
    await until_read(log, lambda ids: "e7" not in ids)
    assert "young" in await read_ids(log)


async def test_settled_records_go_when_they_are_too_many(kit: Kit, store: EventStore) -> None:
    kit.needs("retention")
    log = await store.open(BROKER, LogSettings(retention_bytes=200_000))
    subscriber = await subscribe(log, settling())
    for i in range(40):
        await append(log, record(f"e{i}", data=bytes(10_000)))
    await subscriber.until(40)
    await until_read(log, lambda ids: len(ids) <= 20)
    assert "e39" in await read_ids(log)


async def read_ids(log: EventLog) -> list[str]:
    return [one.record.event.id for one in await log.read(EARLIEST, limit=1000)]


async def until_read(log: EventLog, true: Callable[[list[str]], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true(await read_ids(log)):
            await asyncio.sleep(0.05)


async def test_beyond_the_quota_appends_fail_until_something_is_settled(kit: Kit, store: EventStore) -> None:
    kit.needs("quota")
    log = await store.open(BROKER, LogSettings(quota_bytes=100_000, retention_bytes=50_000))
    subscriber = await subscribe(log, Subscriber())
    kept = 0
    with pytest.raises(StoreFull, match="quota"):
        for i in range(100):
            await append(log, record(f"e{i}", data=bytes(5000)))
            kept += 1
    assert 5 <= kept <= 20
    await subscriber.until(kept)
    for delivery in list(subscriber.got):
        subscriber.settle(delivery)

    async def fits() -> bool:
        try:
            await append(log, record("after", data=bytes(5000)))
        except StoreFull:
            return False
        return True

    async with asyncio.timeout(WAIT_S):
        while not await fits():
            await asyncio.sleep(0.1)
    await subscriber.until(kept + 1)


async def test_a_batch_that_does_not_fit_is_refused_as_a_whole(kit: Kit, store: EventStore) -> None:
    kit.needs("quota")
    log = await store.open(BROKER, LogSettings(quota_bytes=100_000))
    subscriber = await subscribe(log, Subscriber())
    with pytest.raises(StoreFull):
        await append(log, *records(30, data=bytes(5000)))
    assert await log.read(EARLIEST) == []
    await append(log, record("small"))
    await subscriber.stays_at(1, kit.quiet_s)


# ---- restart ----


async def test_what_was_acknowledged_is_delivered_after_a_crash(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart")
    subscriber = await subscribe(log, Subscriber(room=0))
    for i in range(20):
        await append(log, record(f"e{i}"))
    assert subscriber.got == []
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    again = await subscribe(log, settling(room=3))
    await again.stays_at(20, kit.quiet_s)
    assert sorted(again.ids) == sorted(f"e{i}" for i in range(20))


async def test_after_a_crash_exactly_what_was_not_settled_comes_again(
    kit: Kit, store: EventStore, log: EventLog
) -> None:
    kit.needs("survives_restart")
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(30))
    await subscriber.until(30)
    for delivery in reversed(subscriber.got):
        if int(delivery.record.event.id[1:]) % 7 != 3:
            subscriber.settle(delivery)
    await kit.durable(log)
    await subscriber.until(31)
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    again = await subscribe(log, settling())
    await again.stays_at(5, kit.quiet_s)
    assert sorted(again.ids) == sorted(["e3", "e10", "e17", "e24", "marker"])


async def test_attempts_and_due_times_survive_a_crash(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart", "schedule_survives")
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("soon"), record("far"), record("again"))
    await subscriber.until(3)
    by_id = {delivery.record.event.id: delivery for delivery in subscriber.got}
    subscriber.later(by_id["soon"], in_s=0.5, attempt=4)
    subscriber.later(by_id["far"], in_s=600, attempt=2)
    subscriber.later(by_id["again"], attempt=5)
    await subscriber.until(4)  # in flight as attempt 5 when the process dies
    await kit.durable(log)
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    again = await subscribe(log, settling())
    await again.until(3)
    assert sorted(again.attempts) == [("again", 5), ("marker", 1), ("soon", 4)]
    await again.stays_at(3, kit.quiet_s)
    assert again.subscription.lag().scheduled == 1


async def test_letters_survive_a_crash_and_redriven_ones_too(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart", "letters_survive")
    subscriber = await parked(log, 3)
    [first, *_] = await subscriber.subscription.letters()
    assert await subscriber.subscription.redrive([first.id]) == 1
    await subscriber.until(1)
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    again = await subscribe(log, settling())
    await again.stays_at(1, kit.quiet_s)
    assert again.attempts == [(first.record.event.id, 1)]
    assert [one.record.event.id for one in await again.subscription.letters()] == ["e1", "e2"]


async def test_after_a_graceful_restart_nothing_comes_twice(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart")
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(40))
    await subscriber.until(40)
    for delivery in subscriber.got[5:]:
        subscriber.settle(delivery)
    left = sorted(delivery.record.event.id for delivery in subscriber.got[:5])
    await subscriber.subscription.close()
    await store.close()
    kit.made.remove(store)
    log = await (await kit.start()).open(BROKER, LogSettings())
    again = await subscribe(log, settling())
    await again.stays_at(5, kit.quiet_s)
    assert sorted(again.ids) == left


async def test_a_reply_and_its_settle_are_one(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart", "atomic_reply")
    subscriber = await subscribe(log, Subscriber())
    await append(log, *records(10))
    await subscriber.until(10)
    told: list[str] = []
    for delivery in subscriber.got[:10]:
        id = delivery.record.event.id
        subscriber.subscription.settle_with(delivery, record(f"r-{id}"), lambda fault, id=id: told.append(id))
    await until(lambda: told)
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    again = await subscribe(log, settling())
    await again.until(10)
    await again.stays_at(10, kit.quiet_s)
    for i in range(10):
        assert (f"e{i}" in again.ids) != (f"r-e{i}" in again.ids), "either the cause or its reply"
    assert all(f"r-{id}" in again.ids for id in told)


async def test_a_deleted_broker_stays_deleted_after_a_restart(kit: Kit, store: EventStore, log: EventLog) -> None:
    kit.needs("survives_restart")
    await append(log, record("a"))
    await store.delete(BROKER)
    log = await (await kit.restart(store)).open(BROKER, LogSettings())
    assert await log.read(EARLIEST) == []


# ---- the whole ----


async def test_a_store_that_is_open_is_ready_and_says_what_durable_means(store: EventStore, log: EventLog) -> None:
    assert store.not_ready() == ""
    assert store.durability


async def test_after_close_appends_fail(kit: Kit, store: EventStore, log: EventLog) -> None:
    await store.close()
    kit.made.remove(store)
    with pytest.raises(StoreFault):
        await append(log, record("a"))


async def test_a_busy_hour_in_small_everything_is_settled_once(kit: Kit, log: EventLog) -> None:
    """Appends while triggers settle, give back, park and run out of room: each record ends exactly once."""
    subscriber = Subscriber(room=16)
    ends: dict[str, int] = {}

    def answer(delivery: Delivery) -> None:
        id = delivery.record.event.id
        number = int(id.rsplit("-", 1)[1])
        if number % 10 == 3 and delivery.attempt == 1:
            subscriber.later(delivery, in_s=0.01)
        elif number % 25 == 9:
            ends[id] = ends.get(id, 0) + 1
            subscriber.park(delivery)
        else:
            ends[id] = ends.get(id, 0) + 1
            subscriber.settle(delivery)

    subscriber.answer = lambda delivery: asyncio.get_running_loop().call_later(
        0.001 * (hash(delivery.record.event.id) % 5), answer, delivery
    )
    await subscribe(log, subscriber)
    for i in range(20):
        await append(log, *records(25, f"{i}-"))
    await until(lambda: len(ends) == 500)
    await asyncio.sleep(kit.quiet_s)
    assert set(ends.values()) == {1}
    lag = subscriber.subscription.lag()
    assert (lag.waiting, lag.in_flight, lag.scheduled, lag.parked) == (0, 0, 0, 20)
