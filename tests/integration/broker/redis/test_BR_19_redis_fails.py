"""BR-19: Redis restarts, comes back with less, is emptied, is full, is a replica, loads, stalls, loses a group."""

import asyncio
import logging
import shutil
import time

import pytest

from broker.store.contract import Failure, LogSettings, Start
from broker.store.redis import link
from dataplane.errors import StoreFull, StoreUnavailable
from tests.eventstore import append, record, subscribe, until
from tests.integration.broker.redis.house import BROKER, House, Subscriber, accepted
from tests.redisserver import RedisServer

STREAM = f"fe:{{{BROKER}}}:s:0"


async def test_a_restart_loses_nothing_that_was_accepted(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(room=3))
    await append(log, *(record(f"before{i}") for i in range(10)))
    await subscriber.until(3)
    fragile.server.kill()
    await until(lambda: store.not_ready())
    with pytest.raises(StoreUnavailable):
        await append(log, record("refused"))
    subscriber.settle_all()  # while it is away
    fragile.server.start()
    await accepted(log, record("after"))
    subscriber.settles, subscriber.capacity = True, 1000
    subscriber.subscription.more()
    await subscriber.until(11)
    assert sorted(subscriber.ids) == sorted([*(f"before{i}" for i in range(10)), "after"])
    assert store.not_ready() == ""
    assert fragile.metric(store, "dataplane_broker_possible_loss_total") == 0


async def test_appends_on_their_way_when_it_dies_are_answered_unavailable(fragile: House) -> None:
    log = await fragile.log()
    fragile.server.freeze()
    told: list[object] = []
    for i in range(50):
        log.append([record(f"e{i}")], told.append)
    await asyncio.sleep(0.1)
    assert told == []
    fragile.server.kill()
    await until(lambda: len(told) == 50)
    assert all(isinstance(fault, StoreUnavailable) for fault in told)


async def test_a_server_that_stalls_is_given_up_and_used_again_when_it_answers(fragile: House) -> None:
    log = await fragile.log(stalled_s=0.3)
    subscriber = await subscribe(log, Subscriber(settles=True))
    fragile.server.freeze()
    with pytest.raises(StoreUnavailable, match="no answer"):
        await append(log, record("stalled"))
    longest, before = 0.0, time.monotonic()
    while time.monotonic() - before < 0.5:  # the loop goes on meanwhile
        began = time.monotonic()
        await asyncio.sleep(0.001)
        longest = max(longest, time.monotonic() - began)
    assert longest < 0.3
    fragile.server.thaw()
    await accepted(log, record("after"))
    await until(lambda: "after" in subscriber.ids)


async def test_what_waits_for_a_slow_server_is_bounded(fragile: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "WAITING_BYTES_MAX", 100_000)
    log = await fragile.log()
    fragile.server.freeze()
    told: list[object] = []
    for i in range(500):
        log.append([record(f"e{i}", data=bytes(1000))], told.append)
        await asyncio.sleep(0)
    await until(lambda: told)
    assert 300 < len(told) < 450
    assert all("too slowly" in str(fault) for fault in told)
    fragile.server.thaw()
    await until(lambda: len(told) == 500)
    assert told.count(None) == 500 - sum(fault is not None for fault in told)


async def test_flushall_is_an_alarm_and_new_events_flow(fragile: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(settles=True))
    await append(log, record("gone"))
    await subscriber.until(1)
    assert fragile.server.ask("FLUSHALL").startswith(b"+OK")
    await until(lambda: fragile.metric(store, "dataplane_broker_possible_loss_total"))
    await append(log, record("new"))
    await subscriber.until(2)
    assert subscriber.ids == ["gone", "new"]
    assert fragile.metric(store, "dataplane_broker_redis_groups_made_again_total") >= 1
    assert "redis_possible_loss" in caplog.text
    assert "redis_group_made_again" in caplog.text


async def test_an_older_file_is_an_alarm_and_what_is_left_and_new_is_delivered(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(room=0))
    await append(log, record("kept"))
    files = fragile.server.folder / "appendonlydir"
    copy = fragile.server.folder / "copy"
    fragile.server.freeze()
    shutil.copytree(files, copy)
    fragile.server.thaw()
    await append(log, record("lost"))
    await asyncio.sleep(1.2)  # a pulse has seen it
    fragile.server.kill()
    shutil.rmtree(files)
    copy.rename(files)
    fragile.server.start()
    await until(lambda: fragile.metric(store, "dataplane_broker_possible_loss_total"))
    await accepted(log, record("new"))
    subscriber.settles, subscriber.capacity = True, 10
    subscriber.subscription.more()
    await subscriber.until(2)
    assert subscriber.ids == ["kept", "new"]


async def test_a_group_that_was_destroyed_is_made_again_and_nothing_is_skipped(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(room=2))
    await append(log, *(record(f"e{i}") for i in range(6)))
    await subscriber.until(2)
    assert fragile.server.ask("XGROUP", "DESTROY", STREAM, "t:t1").startswith(b":1")
    subscriber.settles, subscriber.capacity = True, 100
    subscriber.settle_all()
    await until(lambda: {f"e{i}" for i in range(6)} <= set(subscriber.ids))
    assert fragile.metric(store, "dataplane_broker_redis_groups_made_again_total") == 1
    assert fragile.metric(store, "dataplane_broker_lost_total") == 0


async def test_a_group_destroyed_while_a_delivery_is_parked_keeps_the_letter(fragile: House) -> None:
    log = await fragile.log()
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    [delivery] = await subscriber.until(1)
    assert fragile.server.ask("XGROUP", "DESTROY", STREAM, "t:t1").startswith(b":1")
    await append(log, record("b"))
    await subscriber.until(2)
    subscriber.subscription.park(delivery, Failure(reason="rejected"))
    await until(lambda: subscriber.subscription.lag().parked == 1)
    assert len(await subscriber.subscription.letters()) == 1


async def test_full_memory_refuses_events_and_still_delivers_those_it_has(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(room=5))
    await append(log, *(record(f"e{i}", data=bytes(1000)) for i in range(50)))
    await subscriber.until(5)
    fragile.server.set("maxmemory", "100kb")
    with pytest.raises(StoreFull, match="maxmemory"):
        await append(log, record("refused", data=bytes(1000)))
    with pytest.raises(StoreFull):
        await append(log, record("refused"), record("as a batch"))
    subscriber.settles, subscriber.capacity = True, 1000
    subscriber.settle_all()
    await subscriber.until(50)
    fragile.server.set("maxmemory", "0")
    await append(log, record("after"))
    await subscriber.until(51)
    assert "refused" not in subscriber.ids


async def test_with_a_full_memory_deliveries_can_be_given_back_and_parked(fragile: House) -> None:
    log = await fragile.log()
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("later"), record("parked"))
    later, parked = await subscriber.until(2)
    fragile.server.set("maxmemory", "100kb")
    subscriber.forget_held()
    subscriber.subscription.later(later, due_at=0, attempt=2)
    subscriber.subscription.park(parked, Failure(reason="rejected"))
    await subscriber.until(3)
    await until(lambda: subscriber.subscription.lag().parked == 1)


async def test_a_master_that_became_a_replica_refuses_until_it_is_master_again(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(settles=True))
    assert fragile.server.ask("REPLICAOF", "127.0.0.1", "1").startswith(b"+OK")
    with pytest.raises(StoreUnavailable, match="replica"):
        await append(log, record("refused"))
    await until(lambda: "replica" in store.not_ready())
    assert fragile.server.ask("REPLICAOF", "NO", "ONE").startswith(b"+OK")
    await accepted(log, record("after"))
    await until(lambda: "after" in subscriber.ids)


async def test_a_server_that_loads_its_file_is_waited_for(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(settles=True))
    for i in range(200):
        fragile.server.ask("SET", f"ballast{i}", "x" * 2000)
    fragile.server.ask("BGREWRITEAOF")  # only a base file is loaded in steps
    await until(lambda: b"aof_rewrite_in_progress:0" in fragile.server.ask("INFO", "persistence"))
    fragile.server.kill()
    fragile.server.options += ("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
    fragile.server.start(wait=False)
    await until(lambda: "loading" in store.not_ready())
    with pytest.raises(StoreUnavailable, match="loading"):
        await append(log, record("refused"))
    await accepted(log, record("after"))
    await until(lambda: "after" in subscriber.ids)


async def test_scripts_that_were_flushed_are_loaded_again(fragile: House) -> None:
    log = await fragile.log()
    subscriber = await subscribe(log, Subscriber())
    assert fragile.server.ask("SCRIPT", "FLUSH").startswith(b"+OK")
    await accepted(log, record("a"))
    [delivery, *_] = await subscriber.until(1)
    assert fragile.server.ask("SCRIPT", "FLUSH").startswith(b"+OK")
    subscriber.forget_held()
    subscriber.subscription.later(delivery, due_at=0, attempt=2)
    await until(lambda: any(one.attempt == 2 and one.position == delivery.position for one in subscriber.got))


async def test_a_connection_that_is_cut_again_and_again_costs_nothing_but_time(fragile: House) -> None:
    log = await fragile.log()
    subscriber = await subscribe(log, Subscriber(settles=True))
    sure = []
    for i in range(30):
        await accepted(log, record(f"e{i}"))
        sure.append(f"e{i}")
        if i % 5 == 4:
            fragile.server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: set(sure) <= set(subscriber.ids))


async def test_a_broker_process_starts_while_redis_is_away(fragile: House) -> None:
    fragile.server.kill()
    store = await fragile.store()
    assert "Redis" in store.not_ready()
    with pytest.raises(StoreUnavailable):
        await store.open(BROKER, LogSettings())
    fragile.server.start()
    await until(lambda: store.not_ready() == "")
    log = await store.open(BROKER, LogSettings())
    await append(log, record("a"))


@pytest.mark.parametrize(
    ("options", "durability", "said"),
    [
        (("--appendonly", "yes", "--appendfsync", "always"), "fsync", ""),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "relaxed (≤ 1 s)", "appendfsync is everysec"),
        (("--appendonly", "no"), "memory", "appendonly is off"),
        (
            (
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--maxmemory",
                "1gb",
                "--maxmemory-policy",
                "allkeys-lru",
            ),
            "fsync",
            "maxmemory-policy is allkeys-lru",
        ),
    ],
)
async def test_durability_is_what_the_server_is_set_to(
    tmp_path, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], durability: str, said: str
) -> None:
    server = RedisServer(tmp_path / "redis", *options).start()
    house = House(server)
    try:
        store = await house.store()
        assert store.durability == durability
        assert said in caplog.text
        assert bool(said) == ("redis_setting" in caplog.text)
    finally:
        await house.close()
        server.kill()


async def test_a_wrong_password_is_told_and_refused(fragile: House) -> None:
    fragile.server.set("requirepass", "secret")
    store = await fragile.store()
    assert "password" in store.not_ready()
    assert "secret" not in store.not_ready()


async def test_an_append_waits_for_the_replicas_that_were_asked_for(fragile: House, tmp_path) -> None:
    store = await fragile.store(replicas=1, replicas_timeout_s=0.2)
    log = await store.open(BROKER, LogSettings())
    with pytest.raises(StoreUnavailable, match="replicas"):
        await append(log, record("alone"))
    replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(fragile.server.port)).start()
    try:
        await accepted(log, record("both"))
        await until(lambda: b"both" in replica.ask("XREVRANGE", STREAM, "+", "-", "COUNT", "1"))
    finally:
        replica.kill()


async def test_a_deleted_entry_is_counted_as_lost_and_does_not_stop_the_trigger(fragile: House) -> None:
    store = await fragile.store(lease_s=1.0)
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(room=1))
    await append(log, record("a"), record("b"), record("c"))
    await subscriber.until(1)
    second = (await log.read(Start("earliest")))[1]
    assert fragile.server.ask("XDEL", STREAM, second.position).startswith(b":1")
    subscriber.settles = True
    subscriber.settle_all()
    await until(lambda: "c" in subscriber.ids)
    await until(lambda: fragile.metric(store, "dataplane_broker_lost_total") == 1)
    assert subscriber.ids == ["a", "c"]


async def test_an_entry_that_is_no_event_is_counted_and_passed_over(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber(settles=True))
    assert fragile.server.ask("XADD", STREAM, "*", "hello", "world").startswith(b"$")
    words = ("ce_specversion", "1.0", "ce_id", "by-hand", "ce_source", "/cli", "ce_type", "t", "data", "{}")
    assert fragile.server.ask("XADD", STREAM, "*", *words).startswith(b"$")
    await subscriber.until(1)
    assert subscriber.ids == ["by-hand"]
    assert subscriber.got[0].record.arrived_at == pytest.approx(time.time(), abs=30)
    assert fragile.metric(store, "dataplane_broker_lost_total") == 1


async def test_what_the_consumer_holds_while_the_connection_is_cut_is_not_handed_over_again(fragile: House) -> None:
    store = await fragile.store()
    log = await store.open(BROKER, LogSettings())
    subscriber = await subscribe(log, Subscriber())
    await append(log, *(record(f"e{i}") for i in range(5)))
    await subscriber.until(5)
    fragile.server.kill()
    await until(lambda: store.not_ready())
    fragile.server.start()
    await accepted(log, record("after"))
    await subscriber.until(6)
    await asyncio.sleep(0.5)
    assert subscriber.ids == [*(f"e{i}" for i in range(5)), "after"]
