"""A broker process with SQLite and two triggers: the subscriber of one is away while events come, then it returns.

Prints a line of JSON: RSS at its highest, how long the healthy trigger took, and how the other one caught up.
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
from broker.store.sqlite.store import SqliteStore
from dataplane.clock import SYSTEM
from dataplane.errors import StoreFault
from dataplane.net.engine import Engine
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import DeliveryPolicy, Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event

BATCH = 500
PAYLOAD = b"x" * 1024


async def run(chosen: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    engine = Engine(loop=loop, registry=Registry())
    settings = BrokerSettings()
    meters = DeliveryMeters(engine.registry, SYSTEM.wall)
    journal = Journal(facts_max=settings.journal_facts_max)
    store = SqliteStore(chosen.folder, durability="os")
    await store.start()
    log = await store.open("bench/b", LogSettings())
    policy = DeliveryPolicy(retry=10)
    consumers = []
    for name, url in (("well", chosen.well), ("away", chosen.away)):
        trigger = Trigger(
            namespace="bench", name=name, broker="b", subscriber=Target(url=url), delivery=policy, uid=name
        )
        consumer = TriggerConsumer(engine, trigger, compile_filters(()), settings, "bench/b", journal, SYSTEM, meters)
        consumer.attach(await log.subscribe(consumer, Start("latest")))
        consumers.append(consumer)
    well, away = consumers

    begun = time.monotonic()
    for first in range(0, chosen.count, BATCH):
        durable: asyncio.Future[StoreFault | None] = loop.create_future()
        log.append([record(number) for number in range(first, first + BATCH)], durable.set_result)
        assert await durable is None
    appended_s = time.monotonic() - begun
    while settled(well) < chosen.count:
        await asyncio.sleep(0.2)
    well_s = time.monotonic() - begun
    behind = away.lag()
    print("gone", flush=True)  # whoever started us brings the subscriber back
    returned = time.monotonic()
    minute = 0.0
    while settled(away) < chosen.count:
        await asyncio.sleep(0.2)
        if not minute and time.monotonic() - returned >= 60:
            minute = meters.deliveries.cell("bench/b", "bench/away", "delivered").v
    figures = {
        "events": chosen.count,
        "appended_s": appended_s,
        "well_s": well_s,
        "behind": behind.waiting + behind.in_flight + behind.scheduled,
        "scheduled": behind.scheduled,
        "first_minute": minute,
        "caught_up_s": time.monotonic() - returned,
        "parked": away.lag().parked,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures), flush=True)
    for consumer in consumers:
        consumer.close()
    await store.close()
    await engine.close()


def record(number: int) -> Record:
    attributes = {"specversion": "1.0", "id": str(number), "source": "/bench", "type": "t"}
    return Record(event=Event(attributes, PAYLOAD), arrived_at=time.time())


def settled(consumer: TriggerConsumer) -> float:
    return consumer._attempts._meters.delivered.v


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--well", required=True)
    parser.add_argument("--away", required=True)
    parser.add_argument("--count", type=int, required=True)
    uvloop.run(run(parser.parse_args()))
