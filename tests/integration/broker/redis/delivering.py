"""A process that delivers a trigger and writes down every id before it settles it: `delivering.py URL FILE ROOM`."""

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from broker.store.contract import Delivery, LogSettings, Start
from broker.store.redis.store import RedisStore
from dataplane.clock import SYSTEM
from dataplane.errors import StoreFault
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event

LEASE_S = 2.0


class Deliverer:
    key = name = "t1"
    ordered = False
    interest = None
    subscription = None

    def __init__(self, file: int, room: int) -> None:
        self.file, self.free = file, room
        self.early: list[Delivery] = []

    def matches(self, event: Event) -> bool:
        return True

    def room(self) -> int:
        return self.free

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self.free -= len(batch)
        os.write(self.file, "".join(f"{one.record.event.id}\n" for one in batch).encode())
        for delivery in batch:
            asyncio.get_running_loop().call_later(random.random() * 0.02, self.settle, delivery)

    def settle(self, delivery: Delivery) -> None:
        if self.subscription is None:
            self.early.append(delivery)
            return
        self.free += 1
        self.subscription.settle(delivery)
        self.subscription.more()


async def deliver(url: str, file: str, room: int) -> None:
    store = RedisStore(url=url, clock=SYSTEM, registry=Registry(), lease_s=LEASE_S)
    await store.start()
    opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    consumer = Deliverer(opened, room)
    while consumer.subscription is None:
        try:
            log = await store.open("default/default", LogSettings())
            consumer.subscription = await log.subscribe(consumer, Start("earliest"))
        except StoreFault:
            await asyncio.sleep(0.05)
    for delivery in consumer.early:
        consumer.settle(delivery)
    print("delivers", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(deliver(sys.argv[1], sys.argv[2], int(sys.argv[3])))
