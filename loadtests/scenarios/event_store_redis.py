"""What does an event cost our process on Redis, appended, fed to one trigger and settled? (ER)

`appending` records of 1 KiB are always waiting for their acknowledgement, so that is how large rounds become. CPU is
user + system time of our process alone; that of Redis is in the row beside it. The server is Debian's, on loopback.

Then decision 0006: many triggers of which one matches, through the tail that they share, and as XREADGROUP and XACK of
every entry by every group.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from harness import HERE, Bench, Failed, Subject
from servers import start_redis

sys.path.insert(0, str(HERE.parent))

EVENTS = 30_000
MANY_EVENTS = 6_400
DATA = b"x" * 1024


def what_does_an_event_cost_on_redis(bench: Bench) -> None:
    """ER: µs of CPU per event at 64 and 256 in one round, `appendfsync always` and `everysec`."""
    import uvloop

    def row(name: str, drive: Callable[[], Coroutine[None, None, dict[str, float]]]) -> None:
        rows = []
        for _ in range(bench.rounds):
            before = redis.cpu_s()
            figure = uvloop.run(drive())
            figure["redis_us"] = (redis.cpu_s() - before) / figure["events"] * 1e6
            rows.append(figure)
        middle = sorted(rows, key=lambda row: row["cpu_us"])[len(rows) // 2]
        bench.record("ER", name, **middle)
        print(
            f"  {name:40} {middle['cpu_us']:7.1f} µs/event (Redis {middle['redis_us']:.1f}),"
            f" {middle['events_s']:.0f} events/s",
            flush=True,
        )

    for fsync in ("always", "everysec"):
        redis = _started(bench, fsync)
        for appending in (64, 256):
            row(f"redis {fsync}, {appending} appending", partial(_drive, _url(redis), EVENTS, appending, 1))
        bench.stop(redis)
    redis = _started(bench, "everysec")
    for triggers in (1, 100, 1000):
        row(f"{triggers} triggers, shared tail", partial(_drive, _url(redis), MANY_EVENTS, 64, triggers))
    for triggers in (1, 100):
        row(f"{triggers} triggers, XREADGROUP each", partial(_each_reads, _url(redis), triggers))
    bench.stop(redis)


def _started(bench: Bench, appendfsync: str) -> Subject:
    redis = start_redis(bench, appendfsync)
    if redis is None:
        raise Failed("no Redis")
    return redis


def _url(redis: Subject) -> str:
    return f"redis://127.0.0.1:{redis.port}/0"


class _Consumer:
    ordered = False

    def __init__(self, number: int, wanted: int) -> None:
        self.key = self.name = f"bench-{number}"
        self.type = f"dev.example.order.{number}"
        self.interest = ("type", self.type)
        self.wanted = wanted
        self.count = self.batches = 0
        self.done = asyncio.Event()
        self.subscription = None

    def matches(self, event: Any) -> bool:
        return event.type == self.type

    def room(self) -> int:
        return 1000

    def fresh(self) -> int:
        return self.room()

    def deliver(self, batch: Sequence[object]) -> None:
        settle = self.subscription.settle
        for delivery in batch:
            settle(delivery)
        self.count += len(batch)
        self.batches += 1
        if self.count >= self.wanted:
            self.done.set()
        self.subscription.more()


def _attributes(number: int) -> dict[str, str]:
    return {
        "specversion": "1.0",
        "id": f"8f2c1d4e-{number}",
        "source": "/bench/orders",
        "type": "dev.example.order.0",
        "time": "2026-11-27T10:00:00.123456Z",
        "datacontenttype": "application/json",
        "subject": "42",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }


async def _drive(url: str, events: int, appending: int, triggers: int) -> dict[str, float]:
    from broker.store.contract import LogSettings, Record, Start
    from broker.store.redis.store import RedisStore
    from dataplane.clock import SYSTEM
    from dataplane.telemetry.metrics import Registry
    from dataplane.wire.cloudevents import Event

    store = RedisStore(url=url, clock=SYSTEM, registry=Registry())
    await store.start()
    await store.delete("bench/bench")
    log = await store.open("bench/bench", LogSettings())
    consumers = [_Consumer(number, events) for number in range(triggers)]
    for each in consumers:
        each.subscription = await log.subscribe(each, Start())
    consumer = consumers[0]
    sent = 0

    def send() -> None:
        nonlocal sent
        sent += 1
        log.append((Record(event=Event(_attributes(sent), DATA), arrived_at=time.time()),), done)

    def done(fault: Exception | None) -> None:
        assert fault is None, fault
        if sent < events:
            send()

    began, before = time.perf_counter(), _cpu_s()
    for _ in range(appending):
        send()
    await consumer.done.wait()
    cpu_s, took = _cpu_s() - before, time.perf_counter() - began
    await store.tasks.close()
    return {"events": events, "cpu_us": cpu_s / events * 1e6, "events_s": events / took}


async def _each_reads(url: str, triggers: int) -> dict[str, float]:
    """The reading and acknowledging alone: no append, no matching, no delivery."""
    from broker.store.contract import Record
    from broker.store.redis.connect import connect, pack
    from broker.store.redis.flat import flatten
    from dataplane.wire.cloudevents import Event

    events = MANY_EVENTS // 10
    connection = await connect(url)
    await connection.ask("DEL", "bench")
    record = Record(event=Event(_attributes(1), DATA), arrived_at=time.time())
    for number in range(triggers):
        await connection.ask("XGROUP", "CREATE", "bench", f"g{number}", "0", "MKSTREAM")
    for _ in range(events):
        await connection.ask("XADD", "bench", "*", *flatten(record))
    began, before = time.perf_counter(), _cpu_s()
    for _ in range(0, events, 64):
        reads = [
            pack("XREADGROUP", "GROUP", f"g{number}", "me", "COUNT", 64, "STREAMS", "bench", ">")
            for number in range(triggers)
        ]
        await connection.send(reads)
        ids = [[entry[0] for entry in (await connection.reply())[0][1]] for _ in reads]
        await connection.send([pack("XACK", "bench", f"g{number}", *some) for number, some in enumerate(ids)])
        for _ in ids:
            await connection.reply()
    cpu_s, took = _cpu_s() - before, time.perf_counter() - began
    await connection.close()
    return {"events": events, "cpu_us": cpu_s / events * 1e6, "events_s": events / took}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
