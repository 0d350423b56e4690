"""A process that delivers a trigger and writes down every id before it settles it.

`delivering.py URL FILE ROOM [ordered]`; ordered, it delivers one after the other, as a dispatcher does in a lane.
"""

import asyncio
import os
import random
import sys
from collections import deque
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
    interest = None
    subscription = None

    def __init__(self, file: int, room: int, ordered: bool) -> None:
        self.file, self.free, self.ordered = file, room, ordered
        self.early: list[Delivery] = []
        self.lane: deque[Delivery] = deque()

    def matches(self, event: Event) -> bool:
        return True

    def room(self) -> int:
        return self.free

    def fresh(self) -> int:
        return self.room()

    def revoked(self) -> None:
        """It goes on with what it has."""

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self.free -= len(batch)
        if self.ordered:
            idle = not self.lane
            self.lane.extend(batch)
            if idle:
                self.next()
            return
        os.write(self.file, "".join(f"{one.record.event.id}\n" for one in batch).encode())
        for delivery in batch:
            asyncio.get_running_loop().call_later(random.random() * 0.02, self.settle, delivery)

    def next(self) -> None:
        os.write(self.file, f"{self.lane[0].record.event.id}\n".encode())
        asyncio.get_running_loop().call_later(random.random() * 0.002, self.ended)

    def ended(self) -> None:
        self.settle(self.lane.popleft())
        if self.lane:
            self.next()

    def settle(self, delivery: Delivery) -> None:
        if self.subscription is None:
            self.early.append(delivery)
            return
        self.free += 1
        self.subscription.settle(delivery)
        self.subscription.more()


async def deliver(url: str, file: str, room: int, ordered: bool) -> None:
    store = RedisStore(url=url, clock=SYSTEM, registry=Registry(), lease_s=LEASE_S)
    await store.start()
    opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    consumer = Deliverer(opened, room, ordered)
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
    asyncio.run(deliver(sys.argv[1], sys.argv[2], int(sys.argv[3]), "ordered" in sys.argv[4:]))
