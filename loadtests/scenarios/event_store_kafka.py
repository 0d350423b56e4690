"""What does an event cost our process on Kafka, appended, fed to one trigger and settled? (EK)

`appending` records of 1 KiB are always waiting for their acknowledgement (acks=all, one Kafka on loopback). CPU is user
+ system time of our process alone; that of Kafka is in the row beside it.

Then decision 0007: many triggers of which one matches, each reading for itself; and what a trigger costs that has
nothing to do.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from harness import HERE, ROOT, Bench, free_port, verdict

sys.path.insert(0, str(HERE.parent))

EVENTS = 30_000
MANY_EVENTS = 5_000
IDLE_S = 10.0
DATA = b"x" * 1024
P11_CPU_US = 200.0  # 5 000 events/s per core for everything; the store is a part of it


def what_does_an_event_cost_on_kafka(bench: Bench) -> None:
    """EK: µs of CPU per event at 64 and 256 under way; with 1, 10 and 100 triggers; of an idle trigger."""
    import uvloop

    from tests.servers.kafka.server import jars

    jars()
    port = free_port()
    server = ROOT / "tests" / "servers" / "kafka" / "server.py"
    kafka = bench.start("kafka", [sys.executable, str(server), "run", str(port)], port)
    bootstrap = f"127.0.0.1:{port}"

    def row(name: str, drive: Callable[[], Coroutine[None, None, dict[str, float]]]) -> float:
        rows = []
        for _ in range(bench.rounds):
            before = kafka.cpu_s()
            figure = uvloop.run(drive())
            figure["kafka_us"] = (kafka.cpu_s() - before) / figure["events"] * 1e6
            rows.append(figure)
        middle = sorted(rows, key=lambda row: row["cpu_us"])[len(rows) // 2]
        bench.record("EK", name, **middle)
        print(
            f"  {name:40} {middle['cpu_us']:7.1f} µs/event (Kafka {middle['kafka_us']:.1f}),"
            f" {middle['events_s']:.0f} events/s",
            flush=True,
        )
        return middle["cpu_us"]

    uvloop.run(_drive(bootstrap, EVENTS, 256, 1))  # Java warms up
    for appending in (64, 256):
        cpu_us = row(f"{appending} appending", partial(_drive, bootstrap, EVENTS, appending, 1))
    verdict("P11 store, append + feed + settle", cpu_us, P11_CPU_US / 4, "µs CPU per event")
    for triggers in (1, 10, 100):
        row(f"{triggers} triggers, one matches", partial(_drive, bootstrap, MANY_EVENTS, 256, triggers))
    for triggers in (10, 100):
        row(f"{triggers} triggers, each reads", partial(_drive, bootstrap, MANY_EVENTS, 256, triggers, shared=False))
    idle = uvloop.run(_idle(bootstrap, 100))
    bench.record("EK", "100 idle triggers", **idle)
    print(
        f"  an idle trigger: {idle['cpu_percent']:.3f} % of a core, {idle['start_ms']:.0f} ms to subscribe", flush=True
    )
    bench.stop(kafka)


class _Consumer:
    ordered = False

    def __init__(self, number: int, wanted: int) -> None:
        self.key = self.name = f"bench/{number}-{time.time()}"
        self.type = f"dev.example.order.{number}"
        self.interest = ("type", self.type)
        self.wanted = wanted
        self.count = 0
        self.done = asyncio.Event()
        self.subscription: Any = None

    def matches(self, event: Any) -> bool:
        return bool(event.type == self.type)

    def room(self) -> int:
        return 1000

    def fresh(self) -> int:
        return self.room()

    def deliver(self, batch: Sequence[object]) -> None:
        settle = self.subscription.settle
        for delivery in batch:
            settle(delivery)
        self.count += len(batch)
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


async def _opened(
    bootstrap: str, triggers: int, wanted: int, *, shared: bool = True
) -> tuple[Any, Any, list[_Consumer], float]:
    from broker.store.contract import LogSettings, Start
    from broker.store.kafka.store import KafkaStore

    store = KafkaStore(bootstrap)
    await store.start()
    log = await store.open(f"bench/{time.time_ns()}", LogSettings())
    if not shared:
        log.tail.follow = lambda *_: False
    consumers = [_Consumer(number, wanted) for number in range(triggers)]
    began = time.perf_counter()
    for each in consumers:
        each.subscription = await log.subscribe(each, Start())
    took = time.perf_counter() - began
    while not all(len(each.subscription.partitions) == 10 for each in consumers):
        await asyncio.sleep(0.05)
    return store, log, consumers, took / triggers * 1000


async def _drive(
    bootstrap: str, events: int, appending: int, triggers: int, *, shared: bool = True
) -> dict[str, float]:
    from broker.store.contract import Record
    from dataplane.wire.cloudevents import Event

    store, log, consumers, _ = await _opened(bootstrap, triggers, events, shared=shared)
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
    await consumers[0].done.wait()
    while any(each.subscription.lag().waiting for each in consumers):
        await asyncio.sleep(0.01)
    cpu_s, took = _cpu_s() - before, time.perf_counter() - began
    await store.delete(log.topic.broker)
    await store.close()
    return {"events": events, "cpu_us": cpu_s / events * 1e6, "events_s": events / took}


async def _idle(bootstrap: str, triggers: int) -> dict[str, float]:
    store, log, _, start_ms = await _opened(bootstrap, triggers, 1)
    before = _cpu_s()
    await asyncio.sleep(IDLE_S)
    cpu_s = _cpu_s() - before
    await store.delete(log.topic.broker)
    await store.close()
    return {"triggers": triggers, "cpu_percent": cpu_s / IDLE_S / triggers * 100, "start_ms": start_ms}


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
