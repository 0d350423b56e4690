"""Delivers events from a memory store to a subscriber and prints what one cost: run by scenarios/event_deliver.py.

deliver   store → dispatcher → HTTP client → subscriber
store     the same store and records, settled at once: what is not delivery
bare      an asyncio.Protocol that sends the same bytes over as many connections: what nobody can go below
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from broker.dispatcher import TriggerConsumer
from broker.journal import Journal
from broker.meters import DeliveryMeters
from broker.settings import BrokerSettings
from broker.store.contract import LogSettings, Record, Start
from broker.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event

BATCH = 50
AHEAD = 500
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "",
    "source": "/orders/eu-central-1",
    "type": "dev.example.order.created",
    "time": "2026-11-27T06:33:43.123456Z",
    "subject": "order/4711",
    "partitionkey": "customer-1234",
    "datacontenttype": "application/json",
    "knativearrivaltime": "2026-11-27T06:33:43.123456Z",
}
PAYLOAD = json.dumps({f"field{n}": "x" * 16 for n in range(31)}).encode()
HEADERS = (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


def record(number: int) -> Record:
    return Record(event=Event({**ATTRIBUTES, "id": str(number)}, PAYLOAD), arrived_at=time.time(), headers=HEADERS)


class Settler:
    """A consumer that is done at once."""

    key, name, ordered, interest = "uid", "bench/t", False, None

    def __init__(self) -> None:
        self.settled = 0

    def attach(self, subscription):
        self.subscription = subscription

    def matches(self, event):
        return True

    def room(self):
        return 1000

    def fresh(self):
        return self.room()

    def revoked(self):
        """It goes on with what it has."""

    def deliver(self, batch):
        for delivery in batch:
            self.subscription.settle(delivery)
        self.settled += len(batch)


async def events(consumers, settled, count: int) -> None:
    """Appends `count`, a few batches ahead of what every consumer has settled; returns when all are."""
    store = MemoryStore()
    log = await store.open("bench/b", LogSettings(retention_s=0, retention_bytes=1))
    for consumer in consumers:
        consumer.attach(await log.subscribe(consumer, Start("latest")))
    appended = 0
    while (done := settled()) < count:
        while appended < count and appended - done < AHEAD:
            log.append([record(number) for number in range(appended, appended + BATCH)], lambda fault: None)
            appended += BATCH
        await asyncio.sleep(0.001)  # not busily: this process is what is measured
    await store.close()


async def deliver(port: int, count: int, warm: int, connections: int, triggers: int) -> tuple[float, float]:
    registry = Registry()
    engine = Engine(loop=asyncio.get_running_loop(), registry=registry)
    settings = BrokerSettings(max_in_flight=max(1, connections // triggers))
    journal = Journal(facts_max=settings.journal_facts_max)
    to = Target(url=f"http://127.0.0.1:{port}/")
    spent = (0.0, 0.0)
    for number in (warm // triggers, count // triggers):
        meters = DeliveryMeters(registry, SYSTEM.wall)
        consumers = []
        for name in range(triggers):
            trigger = Trigger(namespace="bench", name=f"t{name}", broker="b", subscriber=to)
            every = compile_filters(())
            consumers.append(TriggerConsumer(engine, trigger, every, settings, "bench/b", journal, SYSTEM, meters))
        cells = [consumer._attempts._meters.delivered for consumer in consumers]
        begun, wall = cpu_s(), time.monotonic()
        await events(consumers, lambda cells=cells: min(cell.v for cell in cells), number)
        spent = (cpu_s() - begun, time.monotonic() - wall)
        for consumer in consumers:
            consumer.close()
    await engine.close()
    return spent


async def settle(count: int, warm: int) -> tuple[float, float]:
    spent = (0.0, 0.0)
    for number in (warm, count):
        consumer = Settler()
        begun, wall = cpu_s(), time.monotonic()
        await events([consumer], lambda one=consumer: one.settled, number)
        spent = (cpu_s() - begun, time.monotonic() - wall)
    return spent


class Bare(asyncio.Protocol):
    left = 0
    done: asyncio.Event
    request = b""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(Bare.request)

    def data_received(self, data):
        Bare.left -= 1
        if Bare.left > 0:
            self.transport.write(Bare.request)
        else:
            Bare.done.set()


async def bare(port: int, count: int, warm: int, connections: int) -> tuple[float, float]:
    lines = "".join(f"ce-{name}: {value}\r\n" for name, value in ATTRIBUTES.items())
    head = (
        f"POST / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nprefer: reply\r\n{lines}content-length: {len(PAYLOAD)}\r\n\r\n"
    )
    Bare.request = head.encode() + PAYLOAD
    spent = (0.0, 0.0)
    loop = asyncio.get_running_loop()
    for number in (warm, count):
        Bare.left, Bare.done = number, asyncio.Event()
        begun, wall = cpu_s(), time.monotonic()
        made = [await loop.create_connection(Bare, "127.0.0.1", port) for _ in range(connections)]
        await Bare.done.wait()
        spent = (cpu_s() - begun, time.monotonic() - wall)
        for transport, _ in made:
            transport.abort()
    return spent


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def run(chosen: argparse.Namespace) -> None:
    if chosen.what == "deliver":
        cpu, wall = await deliver(chosen.port, chosen.count, chosen.warm, chosen.connections, chosen.triggers)
    elif chosen.what == "store":
        cpu, wall = await settle(chosen.count, chosen.warm)
    else:
        cpu, wall = await bare(chosen.port, chosen.count, chosen.warm, chosen.connections)
    print(json.dumps({"cpu_us": cpu / chosen.count * 1e6, "per_s": chosen.count / wall}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("deliver", "store", "bare"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--warm", type=int, default=5_000)
    parser.add_argument("--triggers", type=int, default=1)
    parser.add_argument("--connections", type=int, default=100)
    uvloop.run(run(parser.parse_args()))
