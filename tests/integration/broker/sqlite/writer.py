"""A process that appends and settles as fast as it can, and says so on stdout, until it is killed.

usage: writer.py FOLDER BEGIN: `a ID` when an append was acknowledged, `d ID` when a delivery came, `s ID` when it was settled.
"""

import asyncio
import os
import sys
import time

from broker.store.contract import LogSettings, Record, Start
from broker.store.sqlite.store import SqliteStore
from dataplane.wire.cloudevents import Event

PRODUCERS = 32


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Consumer:
    key = name = "t"
    ordered = False
    interest = None

    def __init__(self) -> None:
        self.held = 0
        self.subscription = None

    def matches(self, event: Event) -> bool:
        return True

    def room(self) -> int:
        return 50 - self.held

    def fresh(self) -> int:
        return self.room()

    def revoked(self) -> None:
        """It goes on with what it has."""

    def deliver(self, batch) -> None:
        self.held += len(batch)
        for delivery in batch:
            say(f"d {delivery.record.event.id}")
            asyncio.get_running_loop().call_later(0.002, self.answer, delivery)

    def answer(self, delivery) -> None:
        id = delivery.record.event.id
        self.held -= 1
        if delivery.attempt == 1 and int(id) % 50 == 7:
            self.subscription.later(delivery, due_at=time.time() + 0.01, attempt=2)
        else:
            say(f"s {id}")
            self.subscription.settle(delivery)
        self.subscription.more()


async def main(folder: str, begin: int) -> None:
    store = SqliteStore(folder)
    await store.start()
    log = await store.open("default/default", LogSettings())
    consumer = Consumer()
    consumer.subscription = await log.subscribe(consumer, Start("earliest"))
    consumer.subscription.more()
    number = begin

    def send() -> None:
        nonlocal number
        id = str(number)
        number += 1
        attributes = {"specversion": "1.0", "id": id, "source": "/s", "type": "t"}
        record = Record(event=Event(attributes, id.encode() * 50), arrived_at=time.time())
        log.append([record], lambda fault: acknowledged(id, fault))

    def acknowledged(id: str, fault: Exception | None) -> None:
        if fault is not None:
            say(f"! {fault}")
            return
        say(f"a {id}")
        send()

    for _ in range(PRODUCERS):
        send()
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
