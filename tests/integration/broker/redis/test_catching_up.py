"""A trigger that reads for itself meets the tail that others follow: nothing is passed over, nothing comes twice."""

import asyncio

from broker.store.contract import Start
from tests.eventstore import append, record, subscribe, until
from tests.integration.broker.redis.house import House, Subscriber


async def test_triggers_that_catch_up_under_load_get_every_record_once(house: House) -> None:
    log = await house.log()
    await append(log, *(record(f"before{i}") for i in range(300)))
    appended = 0
    stop = asyncio.Event()

    async def produce() -> None:
        nonlocal appended
        while not stop.is_set():
            await append(log, *(record(f"e{appended + i}") for i in range(3)))
            appended += 3

    producing = asyncio.create_task(produce())
    triggers = []
    for number in range(25):
        triggers.append(await subscribe(log, Subscriber(f"t{number}", settles=True), Start("earliest")))
        await asyncio.sleep(0.02)
    stop.set()
    await producing
    await until(lambda: all(len(one.got) >= 300 + appended for one in triggers))
    await asyncio.sleep(0.3)
    for one in triggers:
        assert len(one.ids) == len(set(one.ids)) == 300 + appended


async def test_a_trigger_that_runs_out_of_room_again_and_again_gets_every_record_once(house: House) -> None:
    log = await house.log()
    await subscribe(log, Subscriber("fast", settles=True))
    slow = await subscribe(log, Subscriber("slow", room=7))
    for i in range(300):
        await append(log, *(record(f"{i}-{j}") for j in range(5)))
        if i % 10 == 9:
            slow.settle_all()
    slow.settles, slow.capacity = True, 1000
    slow.settle_all()
    await until(lambda: len(slow.got) >= 1500)
    await asyncio.sleep(0.3)
    assert len(slow.ids) == len(set(slow.ids)) == 1500
    positions = [tuple(map(int, one.position.split("-"))) for one in slow.got]
    assert positions == sorted(positions)


async def test_a_trigger_that_is_ahead_of_the_tail_when_it_begins_to_follow_gets_nothing_twice(house: House) -> None:
    log = await house.log()
    await subscribe(log, Subscriber("follows", settles=True))
    await until(lambda: log.tail(0).followers)
    [running] = log._running
    running.cancel()  # the tail stands still
    await append(log, *(record(f"e{i}") for i in range(5)))
    ahead = await subscribe(log, Subscriber("ahead", room=2), Start("earliest"))
    await ahead.until(2)
    await until(lambda: ahead.subscription.cursors[0].following)
    log._tasks.spawn(log.tail(0).run(), "tail")
    await append(log, record("e5"))
    await until(lambda: log.tail(0).count >= 6)
    ahead.settles = True
    ahead.settle_all()
    await ahead.until(6)
    await asyncio.sleep(0.3)
    assert ahead.ids == [f"e{i}" for i in range(6)]
