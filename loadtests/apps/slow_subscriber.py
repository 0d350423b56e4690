"""One broker process with two triggers: the latency of the one while the subscriber of the other is well, slow or away.

measure   produces at --rate, prints the quantiles of the healthy trigger in µs, accepted to settled, and RSS
serve     answers every event after --delay-s
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
from broker.journal import Fact, Journal
from broker.meters import DeliveryMeters
from broker.settings import BrokerSettings
from broker.store.contract import LogSettings, Record, Start
from broker.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import DeliveryPolicy, Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event

TICK_S = 0.005
PAYLOAD = b'{"field":"' + b"x" * 1000 + b'"}'


async def measure(chosen: argparse.Namespace) -> None:
    registry = Registry()
    engine = Engine(loop=asyncio.get_running_loop(), registry=registry)
    settings = BrokerSettings()
    journal = Journal(facts_max=settings.journal_facts_max)
    meters = DeliveryMeters(registry, SYSTEM.wall)
    log = await MemoryStore().open("bench/b", LogSettings(quota_bytes=8 * 1024**3))
    policy = DeliveryPolicy(retry=10, timeout_s=30.0)
    consumers = []
    for name, url in (("well", chosen.well), ("other", chosen.other)):
        trigger = Trigger(
            namespace="bench", name=name, broker="b", subscriber=Target(url=url), delivery=policy, uid=name
        )
        consumer = TriggerConsumer(engine, trigger, compile_filters(()), settings, "bench/b", journal, SYSTEM, meters)
        consumer.attach(await log.subscribe(consumer, Start("latest")))
        consumers.append(consumer)

    sent: dict[str, float] = {}
    took: list[float] = []

    def follow(fact: Fact) -> None:
        if fact.what == "delivered" and fact.trigger == "bench/well" and (at := sent.pop(fact.id, None)) is not None:
            took.append((time.perf_counter() - at) * 1e6)

    journal.follow(follow)
    number, begun, cpu = 0, time.perf_counter(), cpu_s()
    while (passed := time.perf_counter() - begun) < chosen.seconds:
        batch = []
        while number < passed * chosen.rate:
            number += 1
            attributes = {"specversion": "1.0", "id": str(number), "source": "/bench", "type": "t"}
            batch.append(Record(event=Event(attributes, PAYLOAD), arrived_at=time.time()))
            sent[str(number)] = time.perf_counter()
        if batch:
            log.append(batch, lambda fault: None)
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(1)
    took.sort()
    quantiles = {f"p{q}": took[int(len(took) * q / 100)] for q in (50, 90, 99)}
    behind = consumers[1].lag()
    figures = {
        "sent": number,
        "delivered": len(took),
        **quantiles,
        "max": took[-1],
        "cpu_us": (cpu_s() - cpu) / number * 1e6,
        "other_behind": behind.waiting + behind.in_flight + behind.scheduled,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures))
    for consumer in consumers:
        consumer.close()
    await engine.close()


async def serve(chosen: argparse.Namespace) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                await asyncio.sleep(chosen.delay_s)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", chosen.port)
    await server.serve_forever()


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("measure", "serve"))
    parser.add_argument("--well", default="")
    parser.add_argument("--other", default="")
    parser.add_argument("--rate", type=float, default=2000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-s", type=float, default=1.0)
    given = parser.parse_args()
    uvloop.run(measure(given) if given.what == "measure" else serve(given))
