"""A process that has one trigger of a broker in Kafka: writes down what it delivers, then settles it. To be killed.

    python worker.py BOOTSTRAP CONFIG-AS-JSON INSTANCE FILE [broken | returns]

broken: a store that forgets: it settles every hundredth event without having delivered it.
returns: its subscriber is away until SIGUSR1, and then takes what is new only.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.store.contract import Delivery, LogSettings, Start
from broker.store.kafka.store import KafkaStore
from dataplane.wire.cloudevents import Event


class Subscriber:
    key, name, ordered, interest = "t1", "default/t1", False, None

    def __init__(self, file: Path, *, broken: bool, returns: bool) -> None:
        self.away = self.returns = returns
        self.out = file.open("a", buffering=1)
        self.broken = broken
        self.holds = 0
        self.draining = False
        self.subscription = None
        self.loop = asyncio.get_running_loop()

    def matches(self, event: Event) -> bool:
        return True

    def room(self) -> int:
        return 0 if self.draining or self.returns else 100 - self.holds

    def fresh(self) -> int:
        return 0 if self.draining or self.away else 100 - self.holds

    def back(self) -> None:
        self.away = False
        self.subscription.newest_first()

    def revoked(self) -> None:
        """It goes on with what it has."""

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self.holds += len(batch)
        self.loop.call_later(0.001, self.answered, batch)

    def answered(self, batch: Sequence[Delivery]) -> None:
        ids = [one.record.event.id for one in batch]
        self.out.write("".join(f"{id}\n" for id in ids if not (self.broken and int(id) % 100 == 7)))
        self.holds -= len(batch)
        for delivery in batch:
            self.subscription.settle(delivery)
        self.subscription.more()


async def main(bootstrap: str, config: str, instance: str, file: str, *more: str) -> None:
    store = KafkaStore(bootstrap, config=json.loads(config), instance=instance, session_s=3.0)
    await store.start()
    log = await store.open("default/orders", LogSettings())
    subscriber = Subscriber(Path(file), broken="broken" in more, returns="returns" in more)
    subscriber.subscription = await log.subscribe(subscriber, Start("earliest"))
    print("ready", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, subscriber.back)
    await stop.wait()
    subscriber.draining = True
    while subscriber.holds:
        await asyncio.sleep(0.01)
    await subscriber.subscription.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
