"""What does an event cost our process on Redis, appended, fed to one trigger and settled? (ER)

`appending` records of 1 KiB are always waiting for their acknowledgement, so that is how large rounds become. CPU is
user + system time of our process alone; that of Redis is in the row beside it. The server is Debian's, on loopback.
"""

import asyncio
import itertools
import resource
import shutil
import socket
import sys
import time
from collections.abc import Sequence

from harness import HERE, Bench, Failed

sys.path.insert(0, str(HERE.parent))

EVENTS = 30_000
DATA = b"x" * 1024


def what_does_an_event_cost_on_redis(bench: Bench) -> None:
    """ER: µs of CPU per event at 64 and 256 in one round, `appendfsync always` and `everysec`."""
    import uvloop

    binary = shutil.which("redis-server")
    if binary is None:
        raise Failed("redis-server is missing (apt-get install redis-server)")
    for fsync, appending in itertools.product(("always", "everysec"), (64, 256)):
        folder = bench.folder / f"redis-{fsync}-{appending}"
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        redis = bench.start("redis", [binary, *options, "--appendfsync", fsync], port)
        rows = []
        for _ in range(bench.rounds):
            before = redis.cpu_s()
            figure = uvloop.run(_drive(f"redis://127.0.0.1:{port}/0", appending))
            figure["redis_us"] = (redis.cpu_s() - before) / EVENTS * 1e6
            rows.append(figure)
        bench.stop(redis)
        middle = sorted(rows, key=lambda row: row["cpu_us"])[len(rows) // 2]
        bench.record("ER", f"redis {fsync} {appending}", events=EVENTS, **middle)
        print(
            f"  appendfsync {fsync:8} {appending:3} appending   {middle['cpu_us']:5.1f} µs/event (Redis"
            f" {middle['redis_us']:.1f}), {middle['events_s']:.0f} events/s, rounds of {middle['fed_in']:.0f}",
            flush=True,
        )


class _Consumer:
    key = name = "bench"
    ordered = False
    interest = None

    def __init__(self) -> None:
        self.count = self.batches = 0
        self.done = asyncio.Event()
        self.subscription = None

    def matches(self, event: object) -> bool:
        return True

    def room(self) -> int:
        return 1000

    def deliver(self, batch: Sequence[object]) -> None:
        settle = self.subscription.settle
        for delivery in batch:
            settle(delivery)
        self.count += len(batch)
        self.batches += 1
        if self.count >= EVENTS:
            self.done.set()
        self.subscription.more()


async def _drive(url: str, appending: int) -> dict[str, float]:
    from broker.store.contract import LogSettings, Record, Start
    from broker.store.redis.store import RedisStore
    from dataplane.clock import SYSTEM
    from dataplane.telemetry.metrics import Registry
    from dataplane.wire.cloudevents import Event

    store = RedisStore(url=url, clock=SYSTEM, registry=Registry())
    await store.start()
    await store.delete("bench/bench")
    log = await store.open("bench/bench", LogSettings())
    consumer = _Consumer()
    consumer.subscription = await log.subscribe(consumer, Start())
    told = sent = 0

    def send() -> None:
        nonlocal sent
        sent += 1
        attributes = {
            "specversion": "1.0",
            "id": f"8f2c1d4e-{sent}",
            "source": "/bench/orders",
            "type": "dev.example.order.created",
            "time": "2026-11-27T10:00:00.123456Z",
            "datacontenttype": "application/json",
            "subject": "42",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }
        log.append((Record(event=Event(attributes, DATA), arrived_at=time.time()),), done)

    def done(fault: Exception | None) -> None:
        nonlocal told
        assert fault is None, fault
        told += 1
        if sent < EVENTS:
            send()

    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(appending):
        send()
    await consumer.done.wait()
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    await store.close()
    return {"cpu_us": cpu_s / EVENTS * 1e6, "events_s": EVENTS / took, "fed_in": consumer.count / consumer.batches}
