"""BR-18: what a process held when it died is delivered by another: at once when the death can be seen, else after a lease."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from broker.store.contract import LogSettings, Start
from broker.store.redis.scripts import RECLAIM
from tests.eventstore import append, record, subscribe, until
from tests.integration.broker.redis.house import BROKER, House, Subscriber

ROOT = Path(__file__).resolve().parents[4]

HOLDER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.eventstore import subscribe
from tests.integration.broker.redis.house import House, Subscriber
from tests.redisserver import RedisServer

class There:
    url = {url!r}

async def main():
    log = await House(There()).log(lease_s=30)
    holder = await subscribe(log, Subscriber(room=10, ordered={ordered}))
    await holder.until(5)
    print("holds", *holder.ids, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_process_that_was_killed_beside_us_is_noticed_without_waiting_for_its_lease(
    house: House, ordered: bool
) -> None:
    log = await house.log(lease_s=3600)
    before = await subscribe(log, Subscriber(room=0, ordered=ordered))
    await append(log, *(record(f"e{i}") for i in range(5)))
    await before.subscription.close()
    code = HOLDER.format(root=str(ROOT), url=house.server.url, ordered=ordered)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert (await process.stdout.readline()).split() == [b"holds", b"e0", b"e1", b"e2", b"e3", b"e4"]
    waiting = await subscribe(log, Subscriber(room=10, ordered=ordered))
    await asyncio.sleep(0.3)
    assert waiting.got == [], "the other process lives and has them"
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await waiting.until(5)
    assert sorted(waiting.ids) == ["e0", "e1", "e2", "e3", "e4"]


async def test_what_was_settled_is_on_its_way_before_the_answers_that_are_out_have_come(fragile: House) -> None:
    store = await fragile.store(lease_s=1.0)
    log = await store.open(BROKER, LogSettings())
    before = await subscribe(log, Subscriber())
    await append(log, *(record(f"e{i}") for i in range(20)))
    await before.until(20)
    told: list[object] = []
    fragile.server.freeze()
    log.append([record("out")], told.append)
    await until(lambda: log.link._out)
    for delivery in before.held[:15]:
        before.subscription.settle(delivery)
        await asyncio.sleep(0.001)
    await until(lambda: not log.link._soon)
    await fragile.dies(store)
    assert [str(fault) for fault in told] == ["the store is closed: nobody knows whether it happened"]
    fragile.server.thaw()
    heir = await subscribe(await fragile.log(lease_s=1.0), Subscriber(settles=True))
    await heir.until(6)
    await asyncio.sleep(0.3)
    assert sorted(heir.ids) == sorted(["e15", "e16", "e17", "e18", "e19", "out"])


async def test_a_process_that_cannot_be_seen_is_believed_dead_after_the_lease(house: House) -> None:
    gone = await house.store(lease_s=1.0)
    gone.worker = "elsewhere.boot.1.2.3.4"
    log = await gone.open(BROKER, LogSettings())
    await subscribe(log, Subscriber())
    other = await house.log(lease_s=1.0)
    heir = await subscribe(other, Subscriber(room=0))
    await append(log, record("a"))
    await until(lambda: log.subscriptions["t1"].cursors[0].out)
    await house.dies(gone)
    heir.capacity = 5
    heir.subscription.more()
    await heir.until(1)
    assert heir.ids == ["a"]
    assert heir.got[0].attempt == 1


async def test_a_delivery_that_takes_longer_than_the_lease_is_not_taken_away(house: House) -> None:
    log = await house.log(lease_s=1.0)
    slow = await subscribe(log, Subscriber(room=1))
    await append(log, record("slow"))
    await slow.until(1)
    other = await subscribe(await house.log(lease_s=1.0), Subscriber())
    await asyncio.sleep(3.0)
    assert other.got == []
    slow.settle_all()


async def test_a_process_that_closes_hands_over_at_once(house: House) -> None:
    store = await house.store(lease_s=3600)
    log = await store.open(BROKER, LogSettings())
    leaver = await subscribe(log, Subscriber())
    heir = await subscribe(await house.log(lease_s=3600), Subscriber(room=0))
    await append(log, record("a"), record("b"))
    await leaver.until(2)
    leaver.subscription.settle(leaver.got[0])
    heir.capacity = 5
    await store.close()
    await heir.until(1)
    assert heir.ids == ["b"]


async def test_two_processes_share_the_work_of_a_trigger_and_nobody_gets_a_record_twice(house: House) -> None:
    logs = [await house.log(), await house.log()]
    workers = [await subscribe(log, Subscriber(room=8)) for log in logs]

    async def work(worker: Subscriber) -> None:
        while True:
            await asyncio.sleep(0.005)
            worker.settle_all()

    working = [asyncio.create_task(work(worker)) for worker in workers]
    for i in range(40):
        await append(logs[i % 2], *(record(f"{i}-{j}") for j in range(10)))
    await until(lambda: sum(len(worker.got) for worker in workers) >= 400)
    for task in working:
        task.cancel()
    assert sorted(workers[0].ids + workers[1].ids) == sorted(f"{i}-{j}" for i in range(40) for j in range(10))
    assert all(worker.got for worker in workers)


async def test_an_ordered_trigger_is_delivered_by_one_process_and_moves_when_it_dies(house: House) -> None:
    first = await house.store(lease_s=1.0)
    first.worker = "elsewhere.boot.1.2.3.4"
    log = await first.open(BROKER, LogSettings())
    owner = await subscribe(log, Subscriber(ordered=True))
    heir_log = await house.log(lease_s=1.0)
    heir = await subscribe(heir_log, Subscriber(ordered=True))
    await append(log, *(record(f"e{i}") for i in range(6)))
    await owner.until(6)
    assert heir.got == []
    owner.subscription.settle(owner.got[0])
    owner.subscription.later(owner.got[2], due_at=4e9, attempt=3, keep=True)
    await append(log, record("marker"))
    await owner.until(7)
    await house.dies(first)
    await heir.until(6)
    assert [(one.record.event.id, one.attempt) for one in heir.got] == [
        ("e1", 1),
        ("e2", 3),
        ("e3", 1),
        ("e4", 1),
        ("e5", 1),
        ("marker", 1),
    ]
    assert heir.got[1].due_at == 4e9


async def test_whoever_lost_its_lease_cannot_take_anything(house: House) -> None:
    stale_log = await house.log(lease_s=3600)
    stale = await subscribe(stale_log, Subscriber(ordered=True))
    lease = f"fe:{{{BROKER}}}:lease:t1:0"
    assert house.server.ask("SET", lease, "somebody 99").startswith(b"+OK")
    await append(stale_log, record("a"))
    await until(lambda: not stale.subscription.cursors[0].owner)
    assert stale.got == []
    assert house.server.ask("DEL", lease).startswith(b":1")
    await stale.until(1)


async def test_shards_of_an_ordered_trigger_keep_their_keys_together(house: House) -> None:
    log = await house.log(LogSettings(config={"redis.shards": "4"}))
    ordered = await subscribe(log, Subscriber(ordered=True, settles=True))
    for i in range(60):
        keyed = record(f"{i}")
        keyed.event.attributes["partitionkey"] = f"k{i % 5}"
        await append(log, keyed)
    await ordered.until(60)
    for key in range(5):
        mine = [int(id_) for id_ in ordered.ids if int(id_) % 5 == key]
        assert mine == sorted(mine)
    assert len({one.position.rpartition("@")[2] for one in ordered.got if "@" in one.position}) > 1


async def test_a_record_that_ends_its_process_again_and_again_is_parked(house: House) -> None:
    log = await house.log()
    subscriber = await subscribe(log, Subscriber(room=0))
    await append(log, record("poison"))
    assert house.server.ask("XGROUP", "CREATECONSUMER", f"fe:{{{BROKER}}}:s:0", "t:t1", "ghost")
    subscriber.capacity = 1
    subscriber.subscription.more()
    [delivery] = await subscriber.until(1)
    cursor = subscriber.subscription.cursors[0]
    for i in range(10):  # as ten workers would that took it over and died
        await log.link.call_script(
            RECLAIM, (cursor.stream, log.keys.crashes("t1")), cursor.group, f"ghost-{i}", "", 0, "-", 10
        )
    cursor.out.clear()
    subscriber.forget_held()
    await subscriber.subscription.takeover.reclaim("ghost-9")
    await until(lambda: subscriber.subscription.lag().parked == 1)
    [letter] = await subscriber.subscription.letters()
    assert letter.record == delivery.record
    assert "processes ended" in letter.failure.message
    assert len(subscriber.got) == 1


async def test_a_new_trigger_may_begin_at_the_beginning_beside_an_old_one(house: House) -> None:
    log = await house.log()
    old = await subscribe(log, Subscriber("old", settles=True))
    await append(log, *(record(f"e{i}") for i in range(50)))
    await old.until(50)
    new = await subscribe(log, Subscriber("new", settles=True), Start("earliest"))
    await new.until(50)
    assert new.ids == old.ids


async def test_what_an_ordered_trigger_holds_on_to_past_its_time_holds_up_nothing(house: House) -> None:
    store = await house.store(lease_s=1.0)
    log = await store.open(BROKER, LogSettings())
    owner = await subscribe(log, Subscriber(ordered=True))
    await append(log, *(record(f"e{i}") for i in range(3)))
    for delivery in await owner.until(3):
        owner.subscription.later(delivery, due_at=1.0, attempt=2, keep=True)
    await append(log, record("marker"))
    await owner.until(4)
    await house.dies(store)
    heir = await subscribe(await house.log(lease_s=1.0), Subscriber(ordered=True, settles=True))
    await heir.until(4)
    await append(heir.subscription.log, *(record(f"after{i}") for i in range(50)))
    await heir.until(54)
    assert heir.ids[:4] == ["e0", "e1", "e2", "marker"]


async def test_a_delayed_record_of_an_ordered_trigger_is_delivered_by_its_owner(house: House) -> None:
    owner = await subscribe(await house.log(lease_s=2.0), Subscriber(ordered=True))
    other = await subscribe(await house.log(lease_s=2.0), Subscriber(ordered=True))
    await append(owner.subscription.log, record("a"))
    [delivery] = await owner.until(1)
    owner.later(delivery, in_s=0.2, attempt=1)
    await owner.until(2)
    await asyncio.sleep(0.5)
    assert other.got == []


async def test_an_owner_that_could_not_renew_its_lease_lets_go_and_reads_it_again_before_anything_new(
    fragile: House,
) -> None:
    log = await fragile.log(lease_s=1.5)
    owner = await subscribe(log, Subscriber(ordered=True))
    await append(log, *(record(f"e{i}") for i in range(5)))
    await owner.until(5)
    assert all(owner.subscription.holds(one) for one in owner.got)
    owner.subscription.later(owner.got[1], due_at=4e9, attempt=3, keep=True)
    await append(log, record("marker"))
    await owner.until(6)
    fragile.server.freeze()
    await until(lambda: not owner.subscription.holds(owner.got[0]))
    owner.let_go_all()
    await asyncio.sleep(0.5)
    assert owner.held == [], "no lease, nothing to begin"
    fragile.server.thaw()
    await owner.until(12)
    assert owner.attempts[6:] == [("e0", 1), ("e1", 3), ("e2", 1), ("e3", 1), ("e4", 1), ("marker", 1)]
    assert owner.got[7].due_at == 4e9
    await until(lambda: all(owner.subscription.holds(one) for one in owner.got[6:]))


async def test_a_lease_that_nobody_else_had_meanwhile_repeats_nothing_of_what_is_on_its_way(house: House) -> None:
    log = await house.log(lease_s=3600)
    owner = await subscribe(log, Subscriber(ordered=True))
    await append(log, *(record(f"e{i}") for i in range(5)))
    await owner.until(5)
    [cursor] = [cursor for cursor in owner.subscription.cursors if cursor.out]
    cursor.owner_until = 0.0  # as if it had been stopped for that long
    busy = owner.held.pop(0)
    assert not owner.subscription.holds(busy)
    owner.let_go_all()
    await append(log, record("new"))
    await owner.until(10)
    assert owner.ids[5:] == ["e1", "e2", "e3", "e4", "new"]
    assert owner.revocations == 1
    assert owner.subscription.holds(busy), "the same fence: it was nobody else's"


async def test_what_is_let_go_while_the_rest_is_being_read_again_still_comes_first(house: House) -> None:
    log = await house.log(lease_s=3600)
    owner = await subscribe(log, Subscriber(ordered=True))
    await append(log, *(record(f"e{i}") for i in range(5)))
    await owner.until(5)
    takeover = owner.subscription.takeover
    [cursor] = [cursor for cursor in owner.subscription.cursors if cursor.out]
    failing = owner.held.pop(0)
    pending = takeover.pending

    async def slow(at: object, worker: str, idle_s: float) -> None:
        await pending(at, worker, idle_s)
        if at is cursor and len(cursor.backlog) == 4:
            owner.let_go(failing)  # what was on its way has failed, and the lease is not sure yet

    takeover.pending = slow
    cursor.owner_until = 0.0
    owner.let_go_all()
    await owner.until(10)
    assert owner.ids[5:] == ["e0", "e1", "e2", "e3", "e4"]


async def test_what_an_owner_let_go_is_not_kept_from_the_next_one(house: House) -> None:
    stale_log = await house.log(lease_s=1.5)
    stale = await subscribe(stale_log, Subscriber(ordered=True))
    await append(stale_log, *(record(f"e{i}") for i in range(3)))
    await stale.until(3)
    lease = f"fe:{{{BROKER}}}:lease:t1:0"
    house.server.ask("SET", lease, "somebody 99")  # which never looks at anything
    await until(lambda: stale.revocations)
    assert not any(stale.subscription.holds(one) for one in stale.got)
    await asyncio.sleep(2.0)  # were they still touched, they would not grow idle
    idle = await stale_log.link.call("XPENDING", f"fe:{{{BROKER}}}:s:0", "t:t1", "IDLE", 1500, "-", "+", 10)
    assert len(idle) == 3
