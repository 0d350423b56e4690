"""What does an event cost its store: appended, handed to a trigger and settled, at groups of 1, 32 and 64? (P9, P10)"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness import HERE, Bench, spread, verdict

sys.path.insert(0, str(HERE.parent))

EVENTS = 20_000


def what_does_an_event_cost_its_store(bench: Bench) -> None:
    """P9's share of the store: 1 KB events, producers that wait for `done`, one trigger; and one event for a thousand
    triggers."""
    for kind in ("memory", "sqlite os", "sqlite fsync"):
        for producers in (1, 32, 64):
            events = EVENTS if producers > 1 else EVENTS // 10
            per_event = _measure(bench, kind, producers, events, triggers=1)
            if kind == "sqlite fsync" and producers == 64:
                verdict("P9 store, append + feed + settle", per_event, 12, "µs CPU per event")
    _measure(bench, "sqlite fsync", 32, EVENTS, triggers=1000, types=1000)
    _measure(bench, "sqlite fsync", 32, EVENTS // 50, triggers=1000)


def _measure(bench: Bench, kind: str, producers: int, events: int, *, triggers: int, types: int = 1) -> float:
    cpu, wall = [], []
    for _ in range(bench.rounds):
        with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
            took = asyncio.run(_run(kind, Path(folder), producers, events, triggers, types))
        cpu.append(took[0])
        wall.append(took[1])
    deliveries = "" if triggers == 1 else f", {triggers} triggers {'of one type' if types == 1 else 'of a type each'}"
    subject = f"{kind}, {producers} producers{deliveries}"
    bench.record("event_store", subject, events=events, cpu_us=spread(cpu), wall_us=spread(wall))
    median = statistics.median(cpu)
    print(f"  {subject:60} {median:8.2f} µs CPU, {statistics.median(wall):8.2f} µs wall per event", flush=True)
    return median


async def _run(kind: str, folder: Path, producers: int, events: int, triggers: int, types: int) -> tuple[float, float]:
    from broker.store.contract import Delivery, LogSettings, Record, Start
    from broker.store.memory import MemoryStore
    from broker.store.sqlite.store import SqliteStore
    from dataplane.wire.cloudevents import Event

    loop = asyncio.get_running_loop()
    store = MemoryStore() if kind == "memory" else SqliteStore(folder, durability="os" if "os" in kind else "fsync")
    await store.start()
    log = await store.open("default/default", LogSettings())

    class Consumer:
        """Answers a turn of the loop later, as a subscriber would."""

        ordered = False

        def __init__(self, number: int) -> None:
            self.key = self.name = f"t{number}"
            self.interest = ("type", f"dev.example.order.{number % types}") if triggers > 1 else None
            self.got = self.held = 0
            self.subscription = None

        def matches(self, event: Event) -> bool:
            return True

        def room(self) -> int:
            return 1000 - self.held

        def deliver(self, batch: Sequence[Delivery]) -> None:
            self.held += len(batch)
            loop.call_soon(self.answer, batch)

        def answer(self, batch: Sequence[Delivery]) -> None:
            self.held -= len(batch)
            for delivery in batch:
                self.subscription.settle(delivery)
                self.subscription.more()
            self.got += len(batch)

    consumers = [Consumer(number) for number in range(triggers)]
    for consumer in consumers:
        consumer.subscription = await log.subscribe(consumer, Start())
    data = b"x" * 1024
    sent = told = 0
    finished = loop.create_future()

    def send() -> None:
        nonlocal sent
        attributes = {
            "specversion": "1.0",
            "id": f"6f0a1b2c-3d4e-5f60-7182-{sent:012d}",
            "source": "https://shop.example/orders",
            "type": f"dev.example.order.{sent % types}",
            "time": "2026-11-27T10:00:00.123456Z",
            "datacontenttype": "application/json",
        }
        sent += 1
        log.append([Record(event=Event(attributes, data), arrived_at=time.time())], done)

    def done(fault: Exception | None) -> None:
        nonlocal told
        assert fault is None, fault
        told += 1
        if sent < events:
            send()
        elif told == events:
            finished.set_result(None)

    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(producers):
        send()
    await finished
    wanted = events * triggers // types
    while sum(consumer.got for consumer in consumers) < wanted:
        await asyncio.sleep(0.001)
    for consumer in consumers:
        if triggers == 1:
            await consumer.subscription.close()
    took = (time.process_time() - cpu) / events * 1e6, (time.perf_counter() - wall) / events * 1e6
    await store.close()
    return took
