"""What the benchmarks of stores on servers share: a consumer that settles at once, the events it gets, and the figures.

CPU is user + system time of our process alone; that of the server is in the row beside it.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from harness import ROOT, Bench, Subject

sys.path.insert(0, str(ROOT))

from broker.store.contract import Record
from dataplane.wire.cloudevents import Event

DATA = b"x" * 1024


class Settler:
    """Wants the events of one type, `dev.example.order.N`; `done` when it has had `wanted` of them."""

    ordered = False

    def __init__(self, key: str, number: int, wanted: int) -> None:
        self.key = self.name = key
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

    def revoked(self) -> None:
        """It goes on with what it has."""

    def deliver(self, batch: Sequence[object]) -> None:
        settle = self.subscription.settle
        for delivery in batch:
            settle(delivery)
        self.count += len(batch)
        if self.count >= self.wanted:
            self.done.set()
        self.subscription.more()


def record(number: int) -> Record:
    attributes = {
        "specversion": "1.0",
        "id": f"8f2c1d4e-{number}",
        "source": "/bench/orders",
        "type": "dev.example.order.0",
        "time": "2026-11-27T10:00:00.123456Z",
        "datacontenttype": "application/json",
        "subject": "42",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    return Record(event=Event(attributes, DATA), arrived_at=time.time())


async def settle_all(
    log: Any, settlers: Sequence[Settler], events: int, appending: int, *, others: bool = False
) -> dict[str, float]:
    """Appends `events`, `appending` always on their way, until the first of the settlers has had them all. others: and
    until the others know that there was nothing for them."""
    sent = 0

    def send() -> None:
        nonlocal sent
        sent += 1
        log.append((record(sent),), done)

    def done(fault: Exception | None) -> None:
        assert fault is None, fault
        if sent < events:
            send()

    spent = Spent()
    for _ in range(appending):
        send()
    await settlers[0].done.wait()
    while others and any(each.subscription.lag().waiting for each in settlers):
        await asyncio.sleep(0.01)
    return spent.on(events)


class Spent:
    """Since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu_s = time.perf_counter(), cpu_s()

    def on(self, events: int) -> dict[str, float]:
        took = time.perf_counter() - self._began
        return {"events": events, "cpu_us": (cpu_s() - self._cpu_s) / events * 1e6, "events_s": events / took}


def row(
    bench: Bench,
    scenario: str,
    server: Subject,
    name: str,
    drive: Callable[[], Coroutine[None, None, dict[str, float]]],
) -> float:
    """Drives every round, records and prints the middle one. µs of our CPU per event."""
    import uvloop

    rows = []
    for _ in range(bench.rounds):
        before = server.cpu_s()
        figure = uvloop.run(drive())
        figure[f"{server.name}_us"] = (server.cpu_s() - before) / figure["events"] * 1e6
        rows.append(figure)
    middle = sorted(rows, key=lambda row: row["cpu_us"])[len(rows) // 2]
    bench.record(scenario, name, **middle)
    print(
        f"  {name:40} {middle['cpu_us']:7.1f} µs/event ({server.name} {middle[f'{server.name}_us']:.1f}),"
        f" {middle['events_s']:.0f} events/s",
        flush=True,
    )
    return middle["cpu_us"]


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
