"""What is kept, in Redis and in memory, has bounds."""

import asyncio

import pytest

from broker.store.contract import LogSettings, Start
from broker.store.redis import log as redis_log
from tests.eventstore import append, record, subscribe, until
from tests.integration.broker.redis.house import House, Subscriber


async def ids_of(log) -> list[str]:
    return [one.record.event.id for one in await log.read(Start("earliest"), limit=1000)]


async def test_settled_records_go_when_they_are_old_and_what_is_not_settled_stays(house: House) -> None:
    log = await house.log(LogSettings(retention_s=0.5), lease_s=1.0)
    subscriber = await subscribe(log, Subscriber(room=8))
    for i in range(10):
        await append(log, record(f"e{i}"))
        await asyncio.sleep(0.005)  # what is scheduled keeps the millisecond it arrived in
    await subscriber.until(8)
    for delivery in subscriber.held[:6]:
        subscriber.subscription.settle(delivery)
    subscriber.subscription.later(subscriber.held[6], due_at=4e9, attempt=2)  # scheduled
    async with asyncio.timeout(20):
        while "e5" in await ids_of(log):
            await asyncio.sleep(0.1)
    assert await ids_of(log) == ["e6", "e7", "e8", "e9"]
    assert subscriber.subscription.lag().scheduled == 1


async def test_triggers_without_room_hold_no_more_than_they_may_and_miss_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "BUFFERED_BYTES", 50_000)
    log = await house.log()
    idle = [await subscribe(log, Subscriber(f"t{i}", room=1)) for i in range(20)]
    most = 0
    for i in range(40):
        await append(log, *(record(f"{i}-{j}", data=bytes(500)) for j in range(5)))
        most = max(most, log.buffered)
    await until(lambda: all(len(one.got) == 1 for one in idle))
    assert most < 50_000 + 20 * 5 * 1000
    for one in idle:
        one.settles, one.capacity = True, 50
        one.settle_all()
    await until(lambda: all(len(one.got) >= 200 for one in idle))
    await asyncio.sleep(0.3)
    for one in idle:
        assert one.ids == [f"{i}-{j}" for i in range(40) for j in range(5)]
    assert log.buffered == 0


async def test_letters_count_what_went(house: House) -> None:
    store = await house.store()
    log = await store.open("default/default", LogSettings(parked_max=2))
    subscriber = await subscribe(log, Subscriber())
    await append(log, *(record(f"e{i}") for i in range(5)))
    for delivery in list(await subscriber.until(5)):
        subscriber.park(delivery)
    await until(lambda: house.metric(store, "dataplane_broker_letters_dropped_total") == 3)
    assert subscriber.subscription.lag().parked == 2
    assert [one.record.event.id for one in await subscriber.subscription.letters()] == ["e3", "e4"]


async def test_a_redrive_of_many_letters_takes_each_once(house: House) -> None:
    log = await house.log()
    subscriber = await subscribe(log, Subscriber(room=1000))
    await append(log, *(record(f"e{i}") for i in range(350)))
    for delivery in list(await subscriber.until(350)):
        subscriber.park(delivery)
    await until(lambda: subscriber.subscription.lag().parked == 350)
    subscriber.settles = True
    assert await subscriber.subscription.redrive() == 350
    await subscriber.until(700)
    assert sorted(subscriber.ids[350:]) == sorted(subscriber.ids[:350])
    assert subscriber.subscription.lag().parked == 0
