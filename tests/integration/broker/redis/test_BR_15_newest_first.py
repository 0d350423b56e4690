"""BR-15: what a trigger passed over is shared by its processes, survives any of them and Redis, and is not trimmed."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from broker.store.contract import LogSettings, Start
from tests.eventstore import append, record, subscribe, until
from tests.integration.broker.redis.house import BROKER, House, Subscriber, accepted

ROOT = Path(__file__).resolve().parents[4]
PASSED = f"fe:{{{BROKER}}}:passed"
STREAM = f"fe:{{{BROKER}}}:s:0"
OLD = [f"old{i}" for i in range(200)]

BESIDE = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.eventstore import subscribe
from tests.integration.broker.redis.house import House, Subscriber

class There:
    url = {url!r}

async def main():
    log = await House(There()).log(lease_s=3600)
    beside = await subscribe(log, Subscriber(room=5))
    await beside.until(5)
    print(*beside.ids, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def passing(log, **more: object) -> Subscriber:
    """A trigger that has passed over OLD, and has room for what is new only."""
    subscriber = await subscribe(log, Subscriber(room=0, settles=True, **more))
    await append(log, *(record(id) for id in OLD))
    await until(lambda: subscriber.subscription.lag().waiting == len(OLD))
    await back(subscriber)
    return subscriber


async def back(subscriber: Subscriber, *, fresh: int = 1000) -> None:
    passed = len(subscriber.subscription.cursors[0].passed.stretches)
    subscriber.fresh_capacity = fresh
    subscriber.subscription.newest_first()
    await until(lambda: len(subscriber.subscription.cursors[0].passed.stretches) > passed)


def lets_go_of_the_rest(subscriber: Subscriber, room: int = 1000) -> None:
    subscriber.capacity = room
    subscriber.subscription.more()


async def test_what_was_passed_over_stands_in_redis_until_it_is_settled_or_pending(house: House) -> None:
    log = await house.log()
    subscriber = await passing(log)
    first, last = [(await log.read(Start(at), limit=1))[0].position for at in ("earliest", "latest")]
    assert house.server.ask("HGET", PASSED, "t1/0").split()[1:] == [*f"{first} {last} 0 200".encode().split()]
    assert last.encode() in house.server.ask("XINFO", "GROUPS", STREAM)
    subscriber.settles = False
    lets_go_of_the_rest(subscriber, 10)
    await subscriber.until(10)
    assert subscriber.ids == OLD[:10]
    tenth = subscriber.got[9].position
    [_, begin, _, before, _] = house.server.ask("HGET", PASSED, "t1/0").split()
    ms, _, number = tenth.partition("-")
    assert begin.decode() == f"{ms}-{int(number) + 1}"
    assert before == b"10"
    assert house.server.ask("XPENDING", STREAM, "t:t1").startswith(b"*4\r\n:10\r\n")
    subscriber.settles, subscriber.capacity = True, 1000
    subscriber.settle_all()
    await subscriber.until(200)
    await until(lambda: house.server.ask("EXISTS", PASSED) == b":0\r\n")
    assert subscriber.ids == OLD


async def test_two_processes_share_what_was_passed_over_and_nobody_gets_a_record_twice(house: House) -> None:
    log, other_log = await house.log(), await house.log()
    one = await passing(log)
    other = await subscribe(other_log, Subscriber(room=0, settles=True))  # it learns of it when it joins
    assert other.subscription.lag().waiting == len(OLD)
    for subscriber in (one, other):
        subscriber.settles, subscriber.capacity, subscriber.fresh_capacity = False, 4, None

    async def work(worker: Subscriber) -> None:
        while True:
            await asyncio.sleep(0.003)
            worker.settle_all()

    working = [asyncio.create_task(work(subscriber)) for subscriber in (one, other)]
    new = [f"new{i}" for i in range(100)]
    for id in new:
        await append(log, record(id))
    await until(lambda: len(one.got) + len(other.got) >= len(OLD) + len(new))
    await until(lambda: (one.subscription.lag().waiting, other.subscription.lag().waiting) == (0, 0))
    for task in working:
        task.cancel()
    assert Counter(one.ids + other.ids) == Counter([*OLD, *new])
    for subscriber in (one, other):
        assert any(id.startswith("old") for id in subscriber.ids)


async def test_a_process_learns_from_the_pulse_what_another_passed_over_and_takes_what_is_new(house: House) -> None:
    one = await subscribe(await house.log(), Subscriber(room=0))
    other = await subscribe(await house.log(), Subscriber(room=0, settles=True))
    await append(one.subscription.log, *(record(id) for id in OLD))
    await until(lambda: other.subscription.lag().waiting == len(OLD))
    await back(one, fresh=0)
    other.fresh_capacity = 10
    await until(lambda: other.subscription.cursors[0].passed.stretches)
    await append(one.subscription.log, record("new"))
    await other.until(1)
    assert other.ids == ["new"]
    lets_go_of_the_rest(other)
    await other.until(1 + len(OLD))
    assert sorted(other.ids) == sorted([*OLD, "new"])
    await until(lambda: not one.subscription.cursors[0].passed.stretches)


async def test_what_a_killed_process_held_of_it_and_had_not_come_back_to_is_delivered_by_another(house: House) -> None:
    log = await house.log(lease_s=3600)
    living = await passing(log)
    code = BESIDE.format(root=str(ROOT), url=house.server.url)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    held = (await process.stdout.readline()).decode().split()
    assert held == OLD[:5]
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await append(log, record("new"))
    await living.until(1)
    assert living.ids == ["new"]
    lets_go_of_the_rest(living)
    await living.until(1 + len(OLD))
    await asyncio.sleep(0.3)
    assert Counter(living.ids) == Counter(["new", *OLD])


async def test_whoever_passed_over_and_died_leaves_it_to_the_next(house: House) -> None:
    store = await house.store()
    log = await store.open(BROKER, LogSettings())
    gone = await passing(log)
    await append(log, record("new"))
    await gone.until(1)
    await append(log, record("marker"))
    await asyncio.sleep(0.1)  # `new` is settled
    await house.dies(store)
    heir = await subscribe(await house.log(), Subscriber(settles=True))
    await heir.until(len(OLD))
    await asyncio.sleep(0.3)
    assert set(OLD) <= set(heir.ids) <= {*OLD, "marker"}
    assert len(heir.ids) == len(set(heir.ids))


async def test_a_restart_of_redis_in_between_loses_and_repeats_nothing(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await passing(log)
    lets_go_of_the_rest(subscriber, 1)
    await until(lambda: "old50" in subscriber.ids)
    subscriber.capacity = 0
    fragile.server.kill()
    await until(lambda: store.not_ready())
    fragile.server.start()
    await accepted(log, record("new"))
    await until(lambda: "new" in subscriber.ids)
    assert "old199" not in subscriber.ids
    lets_go_of_the_rest(subscriber)
    await until(lambda: subscriber.subscription.lag()[:2] == (0, 0))
    await asyncio.sleep(0.3)
    assert Counter(subscriber.ids) == Counter([*OLD, "new"])


async def test_redis_and_connections_may_go_at_any_time(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await passing(log)
    subscriber.settles, subscriber.capacity, subscriber.fresh_capacity = True, 2, None
    subscriber.subscription.more()
    new = []
    for i in range(40):
        await accepted(log, record(f"new{i}"))
        new.append(f"new{i}")
        if i % 4 == 3:
            fragile.server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        if i == 20:
            fragile.server.kill()
            await asyncio.to_thread(fragile.server.start)
    await until(lambda: {*OLD, *new} <= set(subscriber.ids))
    await until(lambda: subscriber.subscription.lag()[:2] == (0, 0))
    assert len([id for id in subscriber.ids if id.startswith("old")]) == len(OLD)


async def test_a_return_while_redis_is_away_counts_when_it_is_back(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(room=0, settles=True))
    await append(log, *(record(id) for id in OLD))
    await until(lambda: subscriber.subscription.lag().waiting == len(OLD))
    fragile.server.kill()
    await until(lambda: store.not_ready())
    subscriber.fresh_capacity = 10
    subscriber.subscription.newest_first()
    fragile.server.start()
    await until(lambda: subscriber.subscription.cursors[0].passed.stretches)
    await accepted(log, record("new"))
    await subscriber.until(1)
    assert subscriber.ids == ["new"]


async def test_retention_stops_before_what_was_passed_over(house: House) -> None:
    log = await house.log(LogSettings(retention_s=0.3), lease_s=1.0)
    subscriber = await subscribe(log, Subscriber(room=1000, settles=True))
    await append(log, *(record(f"settled{i}") for i in range(10)))
    await subscriber.until(10)
    subscriber.capacity = 0
    await asyncio.sleep(0.01)
    await append(log, *(record(id) for id in OLD))
    await back(subscriber)
    await append(log, record("new"))
    await subscriber.until(11)
    async with asyncio.timeout(20):
        while (await log.read(Start("earliest"), limit=1))[0].record.event.id != "old0":
            await asyncio.sleep(0.1)
    lets_go_of_the_rest(subscriber, 100)
    await subscriber.until(11 + len(OLD))
    assert Counter(subscriber.ids[11:]) == Counter(OLD)
    async with asyncio.timeout(20):
        while len(await log.read(Start("earliest"))) > 1:  # the last one that was looked at stays
            await asyncio.sleep(0.1)


async def test_what_somebody_took_of_it_is_counted_as_lost(house: House) -> None:
    store = await house.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await passing(log)
    assert house.server.ask("XTRIM", STREAM, "MAXLEN", "150") == b":50\r\n"
    lets_go_of_the_rest(subscriber)
    await subscriber.until(150)
    await until(lambda: house.metric(store, "dataplane_broker_lost_total") == 50)
    assert subscriber.ids == OLD[50:]
    await until(lambda: subscriber.subscription.lag().waiting == 0)


async def test_a_group_that_was_destroyed_meanwhile_loses_nothing(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await passing(log)
    await asyncio.sleep(11)  # a trim has set the low-water mark
    await append(log, record("new"))
    await subscriber.until(1)
    assert fragile.server.ask("XGROUP", "DESTROY", STREAM, "t:t1").startswith(b":1")
    lets_go_of_the_rest(subscriber)
    await append(log, record("newer"))
    await until(lambda: {*OLD, "new", "newer"} <= set(subscriber.ids))
    await until(lambda: subscriber.subscription.lag()[:2] == (0, 0))
    assert len([id for id in subscriber.ids if id.startswith("old")]) == len(OLD)


@pytest.mark.parametrize("shards", [1, 3])
async def test_a_trigger_that_becomes_ordered_comes_back_to_it_before_anything_new(house: House, shards: int) -> None:
    log = await house.log(LogSettings(config={"redis.shards": str(shards)}), lease_s=1.0)
    subscriber = await subscribe(log, Subscriber(room=0, settles=True))
    await append(log, *(record(id) for id in OLD))
    await until(lambda: subscriber.subscription.lag().waiting == len(OLD))
    subscriber.subscription.newest_first()
    await until(lambda: all(cursor.passed.stretches for cursor in subscriber.subscription.cursors[:-1]))
    subscriber.ordered = True
    subscriber.subscription.changed()
    await append(log, *(record(f"new{i}") for i in range(5)))
    lets_go_of_the_rest(subscriber, 7)
    await subscriber.until(len(OLD) + 5)
    for shard in range(shards):
        mine = [one for one in subscriber.got if (one.position.rpartition("@")[2] == str(shard)) == (shard > 0)]
        places = [tuple(map(int, one.position.partition("@")[0].split("-"))) for one in mine]
        assert shard == 0 or places == sorted(places)


async def test_a_trigger_that_is_forgotten_leaves_nothing_of_it(house: House) -> None:
    log = await house.log()
    subscriber = await passing(log)
    await subscriber.subscription.close()
    await log.forget("t1")
    assert house.server.ask("EXISTS", PASSED) == b":0\r\n"
