"""A broker process with one trigger whose subscriber goes away and comes back while events keep coming.

Prints "away" and "back" when the subscriber is to be so, and waits for a line each time. In the end a line of JSON: p50
and p99 (ms, accepted to answered) of what was sent in the minute before the outage, in the minute after it, and from
then until all was caught up; how many were delivered in that minute; how many never came.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from broker.dispatcher import TriggerConsumer
from broker.journal import Fact, Journal
from broker.meters import DeliveryMeters
from broker.settings import BrokerSettings
from broker.store.contract import EventStore, LogSettings, Record, Start
from broker.store.kafka.store import KafkaStore
from broker.store.redis.store import RedisStore
from broker.store.sqlite.store import SqliteStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import DeliveryPolicy, Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event

TICK_S = 0.005
WARM_S = 5  # a member of a Kafka group has no partitions at first
BEFORE_S, MINUTE_S = 60, 60
CATCH_UP_MAX_S = 1800
PAYLOAD = b'{"field":"' + b"x" * 1000 + b'"}'


async def run(chosen: argparse.Namespace) -> None:
    registry = Registry()
    engine = Engine(loop=asyncio.get_running_loop(), registry=registry)
    settings = BrokerSettings()
    journal = Journal(facts_max=1000)
    store: EventStore = SqliteStore(chosen.folder, durability="fsync")
    if chosen.redis:
        store = RedisStore(url=chosen.redis, clock=SYSTEM, registry=registry)
    elif chosen.kafka:
        store = KafkaStore(chosen.kafka, clock=SYSTEM, registry=registry)
    await store.start()
    log = await store.open("bench/b", LogSettings())
    policy = DeliveryPolicy(retry=1000, delay_s=0.2, backoff="exponential", timeout_s=30.0)
    target = Target(url=chosen.subscriber)
    trigger = Trigger(namespace="bench", name="t", broker="b", subscriber=target, delivery=policy, uid="t")
    meters = DeliveryMeters(registry, SYSTEM.wall)
    consumer = TriggerConsumer(engine, trigger, compile_filters(()), settings, "bench/b", journal, SYSTEM, meters)
    consumer.attach(await log.subscribe(consumer, Start("latest")))

    sent: list[float] = []
    answered: dict[int, float] = {}
    last_at = 0.0

    def follow(fact: Fact) -> None:
        nonlocal last_at
        if fact.what == "delivered":
            last_at = answered[int(fact.id)] = time.perf_counter()

    journal.follow(follow)

    async def produce(seconds: float) -> tuple[int, int]:
        """Which ones were sent: [first, end)."""
        first, begun = len(sent), time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            batch = []
            while len(sent) - first < passed * chosen.rate:
                attributes = {"specversion": "1.0", "id": str(len(sent)), "source": "/bench", "type": "t"}
                batch.append(Record(event=Event(attributes, PAYLOAD), arrived_at=time.time()))
                sent.append(time.perf_counter())
            if batch:
                log.append(batch, lambda fault: None)
            await asyncio.sleep(TICK_S)
        return first, len(sent)

    def took(first: int, end: int) -> Sequence[float]:
        return sorted((answered.get(n, float("inf")) - sent[n]) * 1e3 for n in range(first, end))

    await produce(WARM_S)
    before = await produce(BEFORE_S)
    print("away", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await produce(chosen.outage_s)
    lag = consumer.lag()
    print("back", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    while time.perf_counter() - last_at > 1:
        await produce(0.1)  # a probe finds out
    back, known = time.perf_counter(), len(answered)
    minute = await produce(MINUTE_S)
    delivered = len(answered) - known
    end = minute[1]
    while consumer.lag().waiting > chosen.rate and time.perf_counter() - back < CATCH_UP_MAX_S:
        end = (await produce(5))[1]
    caught_up_s = time.perf_counter() - back
    await asyncio.sleep(5)
    figures = {"rate": chosen.rate, "outage_s": chosen.outage_s, "behind": lag.waiting + lag.scheduled}
    for name, (first, last) in {"before": before, "minute": minute, "all": (minute[0], end)}.items():
        times = took(first, last)
        figures |= {f"{name}_p{q}_ms": times[int(len(times) * q / 100)] for q in (50, 99)}
    figures |= {
        "first_minute": delivered,
        "caught_up_s": caught_up_s,
        "missing": len(sent) - len(answered),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures), flush=True)
    consumer.close()
    await store.close()
    await engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--redis", default="", help="its URL; without it and --kafka SQLite")
    parser.add_argument("--kafka", default="", help="its bootstrap address")
    parser.add_argument("--subscriber", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--outage-s", type=float, required=True)
    uvloop.run(run(parser.parse_args()))
