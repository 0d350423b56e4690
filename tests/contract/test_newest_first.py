"""A subscriber that is back gets what is appended now, and what waited beside it: every event once (BR-15).

Held by every event store; see `Subscription.newest_first` in broker/store/contract.py.
"""

import asyncio
import time
from collections import Counter

import pytest

from broker.store.contract import EventLog, EventStore, LogSettings, Start
from tests.contract.eventstores import BROKER, Kit
from tests.eventstore import WAIT_S, Subscriber, append, record, settling, subscribe, until

OLD = [f"old{i}" for i in range(20)]


async def behind(log: EventLog, **more: object) -> Subscriber:
    """A trigger that has room for nothing, and what it waits for."""
    subscriber = await subscribe(log, settling(room=0, **more))
    await offer(log, OLD)
    await until(lambda: subscriber.subscription.lag().waiting >= len(OLD))
    return subscriber


async def offer(log: EventLog, ids: list[str]) -> None:
    """Append these. A second trigger tells when all triggers were offered them."""
    witness = await subscribe(log, settling("witness"))
    for id in ids:
        await append(log, record(id))
    await until(lambda: set(ids) <= set(witness.ids))
    await witness.subscription.close()


async def back(log: EventLog, subscriber: Subscriber, prefix: str = "new") -> list[str]:
    """Its subscriber is back and takes what is new only. Returned is what was appended until the first of it came.

    A store may take a moment until what is appended passes the rest by.
    """
    before = len(subscriber.got)
    subscriber.fresh_capacity = 10
    subscriber.subscription.newest_first()
    subscriber.subscription.more()
    appended: list[str] = []
    async with asyncio.timeout(WAIT_S):
        while len(subscriber.got) == before:
            appended.append(f"{prefix}{len(appended)}")
            await append(log, record(appended[-1]))
            await asyncio.sleep(0.05)
    return appended


async def test_what_is_appended_comes_before_what_waits(kit: Kit, log: EventLog) -> None:
    subscriber = await behind(log)
    appended = await back(log, subscriber)
    for i in range(10):
        await append(log, record(f"later{i}"))
    await until(lambda: subscriber.ids[-1] == "later9")
    assert all(id.startswith(("new", "later")) for id in subscriber.ids)
    assert subscriber.subscription.lag().waiting >= len(OLD)
    subscriber.capacity = 3
    subscriber.subscription.more()
    everything = [*OLD, *appended, *(f"later{i}" for i in range(10))]
    await subscriber.stays_at(len(everything), kit.quiet_s)
    assert sorted(subscriber.ids) == sorted(everything)
    old = [id for id in subscriber.ids if id.startswith("old")]
    assert not kit.one_order or old == OLD, "what waited comes in the order of the log"
    await until(lambda: subscriber.subscription.lag().waiting == 0)


async def test_what_waited_is_not_starved_by_what_is_new(log: EventLog) -> None:
    """One place for all, and never enough of it: the old ones get some of the turns."""
    subscriber = await behind(log)
    subscriber.capacity = subscriber.fresh_capacity = 1
    subscriber.answer = lambda delivery: asyncio.get_running_loop().call_later(0.002, subscriber.settle, delivery)
    subscriber.subscription.newest_first()
    for i in range(200):
        await append(log, record(f"new{i}"))
    await subscriber.until(len(OLD) + 200)
    assert Counter(subscriber.ids) == Counter([*OLD, *(f"new{i}" for i in range(200))])
    last_new = max(i for i, id in enumerate(subscriber.ids) if id.startswith("new"))
    assert sum(id.startswith("old") for id in subscriber.ids[:last_new]) >= 10


async def test_a_redelivery_waits_with_the_old_ones_and_comes(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("again"))
    [again] = await subscriber.until(1)
    subscriber.capacity = 0
    for id in OLD:
        await append(log, record(id))
    subscriber.later(again)
    subscriber.answer = subscriber.settle
    await back(log, subscriber)
    subscriber.capacity = 10
    subscriber.subscription.more()
    await until(lambda: ("again", 2) in subscriber.attempts)
    await until(lambda: subscriber.subscription.lag()[:3] == (0, 0, 0))


async def test_every_return_passes_by_what_waits_then(kit: Kit, log: EventLog) -> None:
    subscriber = await behind(log)
    appended = await back(log, subscriber, "first")
    subscriber.fresh_capacity = 0
    await offer(log, [f"middle{i}" for i in range(10)])
    await until(lambda: subscriber.subscription.lag().waiting >= len(OLD) + 10)
    appended += await back(log, subscriber, "second")
    assert not any(id.startswith(("old", "middle")) for id in subscriber.ids)
    subscriber.capacity = 5
    subscriber.subscription.more()
    everything = [*OLD, *appended, *(f"middle{i}" for i in range(10))]
    await subscriber.stays_at(len(everything), kit.quiet_s)
    assert sorted(subscriber.ids) == sorted(everything)


async def test_many_returns_are_bounded_and_lose_nothing(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling(room=0))
    everything = []
    for i in range(40):
        subscriber.fresh_capacity = 0
        everything += [f"{i}-a", f"{i}-b"]
        await append(log, record(f"{i}-a"))
        subscriber.subscription.newest_first()
        subscriber.fresh_capacity = 1
        subscriber.subscription.more()
        await append(log, record(f"{i}-b"))
    subscriber.capacity, subscriber.fresh_capacity = 7, None
    subscriber.subscription.more()
    await subscriber.stays_at(len(everything), kit.quiet_s)
    assert sorted(subscriber.ids) == sorted(everything)


async def test_an_ordered_trigger_keeps_to_the_log(kit: Kit, log: EventLog) -> None:
    subscriber = await behind(log, ordered=True)
    subscriber.subscription.newest_first()
    await append(log, record("new"))
    subscriber.capacity = 100
    subscriber.subscription.more()
    await subscriber.until(len(OLD) + 1)
    assert not kit.one_order or subscriber.ids == [*OLD, "new"]


async def test_where_nothing_waits_nothing_changes(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling())
    await append(log, record("one"))
    await subscriber.until(1)
    subscriber.subscription.newest_first()
    await append(log, record("two"))
    await subscriber.stays_at(2, kit.quiet_s)
    assert subscriber.ids == ["one", "two"]


async def test_what_does_not_match_is_passed_over_in_what_waited_too(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling(room=0, type="t"))
    for i in range(300):
        await append(log, record(f"old{i}", type="t" if i % 100 == 50 else "other"))
    appended = await back(log, subscriber)
    subscriber.capacity = 2
    subscriber.subscription.more()
    await subscriber.stays_at(3 + len(appended), kit.quiet_s)
    assert sorted(subscriber.ids) == sorted(["old50", "old150", "old250", *appended])
    await until(lambda: subscriber.subscription.lag().waiting == 0)


async def test_a_delayed_record_that_waited_comes_at_its_time(kit: Kit, log: EventLog) -> None:
    subscriber = await subscribe(log, settling(room=0))
    await append(log, record("delayed", not_before=time.time() + 1.0), *(record(id) for id in OLD))
    appended = await back(log, subscriber)
    subscriber.capacity = 100
    subscriber.subscription.more()
    await subscriber.until(len(OLD) + len(appended) + 1)
    assert Counter(subscriber.ids) == Counter(["delayed", *OLD, *appended])
    [delayed] = [delivery for delivery in subscriber.got if delivery.record.event.id == "delayed"]
    assert delayed.record.not_before <= time.time()


@pytest.mark.parametrize("where", ["back", "end"])
async def test_a_seek_forgets_what_was_passed_over(kit: Kit, log: EventLog, where: str) -> None:
    subscriber = await behind(log)
    appended = await back(log, subscriber)
    given = len(subscriber.got)
    await subscriber.subscription.seek(Start("earliest" if where == "back" else "latest"))
    subscriber.capacity, subscriber.fresh_capacity = 100, None
    await append(log, record("after"))
    subscriber.subscription.more()
    again = [*OLD, *appended, "after"] if where == "back" else ["after"]
    await subscriber.stays_at(given + len(again), kit.quiet_s)
    assert sorted(subscriber.ids[given:]) == sorted(again)


@pytest.mark.parametrize("ending", ["close", "crash"])
async def test_a_restart_knows_what_was_passed_over(kit: Kit, store: EventStore, log: EventLog, ending: str) -> None:
    """What was passed over comes; what is new and was settled does not come again."""
    kit.needs("survives_restart")
    subscriber = await behind(log)
    appended = await back(log, subscriber)
    await until(lambda: len(subscriber.got) >= 1)
    subscriber.capacity = 1
    subscriber.subscription.more()
    subscriber.answer = lambda delivery: None
    await until(lambda: any(id.startswith("old") for id in subscriber.ids))
    subscriber.capacity = subscriber.fresh_capacity = 0
    await kit.durable(log)
    settled = set(subscriber.ids) - {delivery.record.event.id for delivery in subscriber.got[-1:]}
    if ending == "close":
        await subscriber.subscription.close()
        await store.close()
        kit.made.remove(store)
        store = await kit.start()
    else:
        store = await kit.restart(store)
    log = await store.open(BROKER, LogSettings())
    again = await subscribe(log, settling())
    left = Counter({*OLD, *appended, "marker"} - settled)
    await again.stays_at(sum(left.values()), kit.quiet_s)
    assert Counter(again.ids) == left
