"""What does an event cost its store: appended, handed to a trigger and settled, at groups of 1, 32 and 64? (P9, P10)"""

import asyncio
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from harness import Bench, spread, verdict  # noqa: E402

EVENTS = 20_000
BACKLOGS = (1_000_000, 10_000_000)
PAYLOAD_BYTES = 200  # of a backlog's events: 10 million are 5 GB
CAUGHT_UP = 100_000  # deliveries after a start, for the memory they take


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


def how_long_does_a_backlog_hold_up_a_start(bench: Bench) -> None:
    """BR-01, BR-23: a process that finds so many events waiting: seconds to its first delivery, memory while it catches
    up."""
    for count in BACKLOGS:
        folder = bench.folder / f"backlog{count}"
        _fill(folder / "default" / "default.db", count)
        for _ in range(min(bench.rounds, 3)):
            child = [sys.executable, __file__, str(folder)]
            said = subprocess.run(child, capture_output=True, text=True, check=True).stdout.split()
            start_s, rate_per_s, rss_mib = map(float, said)
            bench.record(
                "event_store", f"start, {count} pending", start_s=start_s, rss_mib=rss_mib, catch_up_per_s=rate_per_s
            )
            print(
                f"  {count:>10} pending: first delivery after {start_s:.3f} s, {rate_per_s:.0f}/s, {rss_mib:.0f} MiB",
                flush=True,
            )
        verdict(f"BR-23 start, {count} pending", start_s, 2 if count <= 1_000_000 else 5, "s")
        verdict(f"BR-23 memory, {count} pending", rss_mib, 200, "MiB")
        shutil.rmtree(folder)


def _fill(path: Path, count: int) -> None:
    from broker.store.contract import Record
    from broker.store.sqlite.files import Appending, BrokerFile, Group
    from broker.store.sqlite.rows import encode
    from dataplane.wire.cloudevents import Event

    attributes = {"specversion": "1.0", "id": "6f0a1b2c", "source": "https://shop.example", "type": "dev.example.order"}
    row = encode(Record(event=Event(attributes, bytes(PAYLOAD_BYTES)), arrived_at=time.time()))
    file = BrokerFile(path, "os")
    for _ in range(count // 5000):
        file.write(Group([Appending([row] * 5000, ())], [], {}, [], [], 1.0, 0.0))
        file.checkpoint()
    file.close()


async def _start(folder: str) -> None:
    """The child: prints seconds to the first delivery, deliveries per second after it, MiB of memory at the most."""
    from broker.store.contract import Delivery, LogSettings, Start
    from broker.store.sqlite.store import SqliteStore
    from dataplane.wire.cloudevents import Event

    loop = asyncio.get_running_loop()
    came = loop.create_future()
    enough = loop.create_future()

    class Consumer:
        key = name = "t"
        ordered = False
        interest = None
        got = held = 0

        def matches(self, event: Event) -> bool:
            return True

        def room(self) -> int:
            return 100 - self.held

        def fresh(self) -> int:
            return self.room()

        def revoked(self) -> None:
            """It goes on with what it has."""

        def deliver(self, batch: Sequence[Delivery]) -> None:
            self.got += len(batch)
            self.held += len(batch)
            if not came.done():
                came.set_result(time.perf_counter())
            if self.got >= CAUGHT_UP and not enough.done():
                enough.set_result(time.perf_counter())
            loop.call_soon(self.answer, batch)

        def answer(self, batch: Sequence[Delivery]) -> None:
            self.held -= len(batch)
            for delivery in batch:
                subscription.settle(delivery)
            subscription.more()

    began = time.perf_counter()
    store = SqliteStore(folder)
    await store.start()
    log = await store.open("default/default", LogSettings(retention_s=0))
    subscription = await log.subscribe(Consumer(), Start("earliest"))
    first, last = await came, await enough
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(first - began, CAUGHT_UP / (last - first), memory)
    await log.forget("t")
    await store.close()


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

        def fresh(self) -> int:
            return self.room()

        def revoked(self) -> None:
            """It goes on with what it has."""

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


if __name__ == "__main__":
    asyncio.run(_start(sys.argv[1]))
