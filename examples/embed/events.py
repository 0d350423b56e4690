"""A broker inside your own program: you say which triggers there are, it keeps events and delivers them.

python3 events.py LISTEN_PORT FOLDER SUBSCRIBER_URL     # e.g. 8082 ./events http://127.0.0.1:9000/
"""

import asyncio
import signal
import sys

from broker.dispatcher import TriggerConsumer
from broker.ingress import Ingress
from broker.journal import Journal
from broker.meters import DeliveryMeters
from broker.service import BrokerService
from broker.settings import BrokerSettings
from broker.store.sqlite.store import SqliteStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.policy.filters import Filter
from dataplane.resources.snapshot import Snapshot
from dataplane.resources.triggers import Broker, Target, Trigger
from dataplane.telemetry.metrics import Registry


def view(subscriber: str) -> Snapshot:
    """Everything the broker knows: one broker, one trigger for orders."""
    bill = Trigger(
        namespace="shop",
        name="bill",
        broker="main",
        filters=({"exact": {"type": "dev.example.order"}},),
        subscriber=Target(url=subscriber),
    )
    return Snapshot(brokers={"shop/main": Broker(namespace="shop", name="main")}, triggers={"shop/bill": bill})


async def main(port: int, folder: str, subscriber: str) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    engine = Engine(loop=loop, registry=Registry())
    settings, journal = BrokerSettings(), Journal(facts_max=1000)
    meters = DeliveryMeters(engine.registry, SYSTEM.wall)

    def runner(trigger: Trigger, accepts: Filter, broker: str) -> TriggerConsumer:
        return TriggerConsumer(engine, trigger, accepts, settings, broker, journal, SYSTEM, meters)

    service = BrokerService(
        settings=settings,
        make_store=lambda kind: SqliteStore(folder),
        make_runner=runner,
        clock=SYSTEM,
        registry=engine.registry,
    )
    service.apply(view(subscriber))
    await service.settled(10)  # every trigger is subscribed: what is accepted from now on reaches it
    ingress = Ingress(engine=engine, settings=settings, logs=service.log, clock=SYSTEM, journal=journal)
    try:
        if service.log("shop/main") is None:
            sys.exit("shop/main is not ready; the line above says why")
        host, port = await ingress.listen("127.0.0.1", port)
        print(f"POST events to http://{host}:{port}/shop/main", flush=True)
        await stop.wait()
    finally:
        await ingress.drain()
        await service.drain()
        await engine.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:4]))
