"""One broker process with two triggers: what the one gets while the subscriber of the other is well, slow or cut off.

measure   SQLite in --folder. First at --rate, then as many as the healthy trigger takes, --seconds each. Prints a line
          of JSON: the quantiles of the healthy trigger at that rate, in µs, accepted to settled; deliveries per second
          and per second of CPU of the other phase; how far the other trigger is behind; RSS
serve     a subscriber that answers every event after --delay-s; with --reset every connection by RST. Says "ready"
"""

import argparse
import asyncio
import json
import resource
import socket
import struct
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
from broker.store.sqlite.store import SqliteStore
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import DeliveryPolicy, Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import Event

TICK_S = 0.005
WARM_S = 1.0
TIMEOUT_S = 2.0  # of an attempt: within a run some are over
AHEAD = 2000  # events that the healthy trigger has not got yet: more than fit into its window
PAYLOAD = b'{"field":"' + b"x" * 1000 + b'"}'


class Producer:
    """Appends, and follows what becomes of it at the healthy trigger."""

    def __init__(self, log, journal: Journal) -> None:
        self.log = log
        self.number = 0
        self.sent: dict[str, float] = {}
        self.took: list[float] = []
        journal.follow(self.follow)

    def follow(self, fact: Fact) -> None:
        if fact.what == "delivered" and fact.trigger == "bench/well" and (at := self.sent.pop(fact.id, None)):
            self.took.append((time.perf_counter() - at) * 1e6)

    async def run(self, seconds: float, rate: float) -> None:
        """rate: events per second; 0 = as many as are delivered, and AHEAD of that."""
        begun, first = time.perf_counter(), self.number
        while (passed := time.perf_counter() - begun) < seconds:
            count = int(passed * rate) - (self.number - first) if rate else AHEAD - len(self.sent)
            if count > 0:
                self.log.append([self.record() for _ in range(count)], lambda fault: None)
            await asyncio.sleep(TICK_S)

    async def rest(self) -> None:
        """Until all is delivered."""
        async with asyncio.timeout(30):
            while self.sent:
                await asyncio.sleep(TICK_S)

    def record(self) -> Record:
        self.number += 1
        attributes = {"specversion": "1.0", "id": str(self.number), "source": "/bench", "type": "t"}
        self.sent[str(self.number)] = time.perf_counter()
        return Record(event=Event(attributes, PAYLOAD), arrived_at=time.time())


async def measure(chosen: argparse.Namespace) -> None:
    registry = Registry()
    engine = Engine(loop=asyncio.get_running_loop(), registry=registry)
    settings = BrokerSettings()
    journal = Journal(facts_max=settings.journal_facts_max)
    meters = DeliveryMeters(registry, SYSTEM.wall)
    store = SqliteStore(chosen.folder, durability=chosen.durability)
    await store.start()
    log = await store.open("bench/b", LogSettings())
    policy = DeliveryPolicy(retry=10, timeout_s=TIMEOUT_S)
    consumers = []
    for name, url in (("well", chosen.well), ("other", chosen.other)):
        trigger = Trigger(
            namespace="bench", name=name, broker="b", subscriber=Target(url=url), delivery=policy, uid=name
        )
        consumer = TriggerConsumer(engine, trigger, compile_filters(()), settings, "bench/b", journal, SYSTEM, meters)
        consumer.attach(await log.subscribe(consumer, Start("latest")))
        consumers.append(consumer)

    producer = Producer(log, journal)
    await producer.run(WARM_S, chosen.rate)
    await producer.rest()
    producer.took.clear()
    await producer.run(chosen.seconds, chosen.rate)
    await producer.rest()
    steady = sorted(producer.took)

    await producer.run(WARM_S, 0)
    producer.took.clear()
    begun, cpu = time.perf_counter(), cpu_s()
    await producer.run(chosen.seconds, 0)
    delivered, passed_s, used_s = len(producer.took), time.perf_counter() - begun, cpu_s() - cpu
    behind = consumers[1].lag()
    await producer.rest()
    figures = {
        "sent": producer.number,
        **{f"p{q}": steady[int(len(steady) * q / 100)] for q in (50, 90, 99)},
        "max": steady[-1],
        "per_s": delivered / passed_s,
        "per_cpu_s": delivered / used_s,
        "other_delivered": meters.deliveries.cell("bench/b", "bench/other", "delivered").v,
        "other_retried": meters.deliveries.cell("bench/b", "bench/other", "retried").v,
        "other_behind": behind.waiting + behind.in_flight + behind.scheduled,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures))
    for consumer in consumers:
        consumer.close()
    await store.close()
    await engine.close()


async def serve(chosen: argparse.Namespace) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close is RST
        try:
            while not chosen.reset:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
                if chosen.delay_s:
                    await asyncio.sleep(chosen.delay_s)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(answer, chosen.host, chosen.port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("measure", "serve"))
    parser.add_argument("--folder", default="")
    parser.add_argument("--durability", choices=("fsync", "os"), default="fsync")
    parser.add_argument("--well", default="")
    parser.add_argument("--other", default="")
    parser.add_argument("--rate", type=float, default=2000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-s", type=float, default=1.0)
    parser.add_argument("--reset", action="store_true")
    given = parser.parse_args()
    uvloop.run(measure(given) if given.what == "measure" else serve(given))
