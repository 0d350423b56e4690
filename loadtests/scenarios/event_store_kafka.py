"""What does an event cost our process on Kafka, appended, fed to one trigger and settled? (EK)

`appending` records of 1 KiB are always waiting for their acknowledgement (acks=all, one Kafka on loopback).

Then decision 0007: many triggers of which one matches, each reading for itself; and what a trigger costs that has
nothing to do.
"""

import asyncio
import sys
import time
from functools import partial
from typing import Any

from harness import ROOT, Bench, free_port, verdict
from settling import Settler, cpu_s, row, settle_all

EVENTS = 30_000
MANY_EVENTS = 5_000
IDLE_S = 10.0
P11_CPU_US = 200.0  # 5 000 events/s per core for everything; the store is a part of it


def what_does_an_event_cost_on_kafka(bench: Bench) -> None:
    """EK: µs of CPU per event at 64 and 256 under way; with 1, 10 and 100 triggers; of an idle trigger."""
    import uvloop

    from tests.servers.kafka.server import jars

    jars()
    port = free_port()
    server = ROOT / "tests" / "servers" / "kafka" / "server.py"
    kafka = bench.start("kafka", [sys.executable, str(server), "run", str(port)], port)
    bootstrap = f"127.0.0.1:{port}"

    def measure(name: str, *how: int, **more: bool) -> float:
        return row(bench, "EK", kafka, name, partial(_drive, bootstrap, *how, **more))

    uvloop.run(_drive(bootstrap, EVENTS, 256, 1))  # Java warms up
    for appending in (64, 256):
        cpu_us = measure(f"{appending} appending", EVENTS, appending, 1)
    verdict("P11 store, append + feed + settle", cpu_us, P11_CPU_US / 4, "µs CPU per event")
    for triggers in (1, 10, 100):
        measure(f"{triggers} triggers, one matches", MANY_EVENTS, 256, triggers)
    for triggers in (10, 100):
        measure(f"{triggers} triggers, each reads", MANY_EVENTS, 256, triggers, shared=False)
    idle = uvloop.run(_idle(bootstrap, 100))
    bench.record("EK", "100 idle triggers", **idle)
    print(
        f"  an idle trigger: {idle['cpu_percent']:.3f} % of a core, {idle['start_ms']:.0f} ms to subscribe", flush=True
    )
    bench.stop(kafka)


async def _opened(
    bootstrap: str, triggers: int, wanted: int, *, shared: bool = True
) -> tuple[Any, Any, list[Settler], float]:
    from broker.store.contract import LogSettings, Start
    from broker.store.kafka.store import KafkaStore

    store = KafkaStore(bootstrap)
    await store.start()
    log = await store.open(f"bench/{time.time_ns()}", LogSettings())
    if not shared:
        log.tail.follow = lambda *_: False
    consumers = [Settler(f"bench/{number}-{time.time()}", number, wanted) for number in range(triggers)]
    began = time.perf_counter()
    for each in consumers:
        each.subscription = await log.subscribe(each, Start())
    took = time.perf_counter() - began
    while not all(len(each.subscription.partitions) == 10 for each in consumers):
        await asyncio.sleep(0.05)
    return store, log, consumers, took / triggers * 1000


async def _drive(
    bootstrap: str, events: int, appending: int, triggers: int, *, shared: bool = True
) -> dict[str, float]:
    store, log, consumers, _ = await _opened(bootstrap, triggers, events, shared=shared)
    figures = await settle_all(log, consumers, events, appending, others=True)
    await store.delete(log.topic.broker)
    await store.close()
    return figures


async def _idle(bootstrap: str, triggers: int) -> dict[str, float]:
    store, log, _, start_ms = await _opened(bootstrap, triggers, 1)
    before = cpu_s()
    await asyncio.sleep(IDLE_S)
    used_s = cpu_s() - before
    await store.delete(log.topic.broker)
    await store.close()
    return {"triggers": triggers, "cpu_percent": used_s / IDLE_S / triggers * 100, "start_ms": start_ms}
