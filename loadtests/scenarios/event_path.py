"""What does an event cost, accepted and delivered, and how long does it take? (P9, P10, P11)

One broker process does everything: ingress, store, matching, delivery. wrk produces 1 KB events over 64 connections,
nginx answers 204. The figure is CPU of the broker process per event, until the last one is delivered; 1e6 / that is
events per second and core. Latency is taken in a run of its own at half the target rate, by a process that sees both
ends.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from harness import HERE, Bench, Failed, Subject, free_port, spread, verdict
from subjects import DATAPLANE, PROJECT, nginx

TARGET_PER_S = 10_000
TYPES = 1000


def what_does_an_event_cost(bench: Bench) -> None:
    """P9: SQLite, durable 202 (fsync), one trigger."""
    ratios = _cost(bench, "P9", "sqlite", ("--set", "broker.durability=fsync"))
    verdict("P9 events per second and core (CPU µs per event)", spread(ratios)["median"], 1e6 / TARGET_PER_S, "µs")
    _latency(bench, "P9", "sqlite", TARGET_PER_S / 2, ("--set", "broker.durability=fsync"))


def what_do_a_thousand_triggers_cost(bench: Bench) -> None:
    """P10: the same with 1 000 triggers with an exact filter on type; one of them matches."""
    alone = _cost(bench, "P10 one trigger", "sqlite", ())
    many = _cost(bench, "P10", "sqlite", (), triggers=TYPES)
    more = [b - a for a, b in zip(alone, many, strict=True)]
    verdict("P10 matching among 1 000 triggers, more CPU per event", spread(more)["median"], 20.0, "µs")


def what_does_an_event_cost_on_servers(bench: Bench) -> None:
    """P11: Redis (AOF always) and Kafka (acks=all); the servers' own CPU is not counted, as the disk's is not."""
    own = spread(_cost(bench, "P11 sqlite", "sqlite", ()))["median"]
    for store, arguments in _servers(bench):
        cost = spread(_cost(bench, f"P11 {store}", store, arguments))["median"]
        verdict(f"P11 {store}, CPU per event, × sqlite", cost / own, 2.0, "×")


def _cost(bench: Bench, scenario: str, store: str, arguments: Sequence[str], *, triggers: int = 1) -> list[float]:
    sink = nginx(bench, "subscriber", 0)
    broker, admin = _broker(bench, store, f"http://127.0.0.1:{sink.port}", arguments, triggers)
    _produce(broker, 1)
    _drained(admin)
    costs = []
    for number in range(bench.rounds):
        before, delivered_before = broker.cpu_s(), _delivered(admin)
        figures = _produce(broker, bench.seconds)
        delivered = _drained(admin) - delivered_before
        used = broker.cpu_s() - before
        costs.append(used / figures["requests"] * 1e6)
        bench.record(
            scenario,
            store,
            round=number,
            triggers=triggers,
            cpu_us=costs[-1],
            events_per_core_s=1e6 / costs[-1],
            delivered=delivered,
            durability=_durability(store, arguments),
            rss_bytes=broker.rss_bytes(),
            **figures,
        )
        print(
            f"  {scenario:16} {costs[-1]:7.1f} µs/event ({1e6 / costs[-1]:,.0f} per core and second), accepted"
            f" {figures['requests']:,} at {figures['rps']:,.0f}/s, delivered {delivered:,.0f},"
            f" errors {figures['errors']}",
            flush=True,
        )
    bench.stop(broker, sink)
    return costs


def _latency(bench: Bench, scenario: str, store: str, rate: float, arguments: Sequence[str]) -> None:
    port = free_port()
    probe = subprocess.Popen(
        [sys.executable, str(HERE / "apps" / "event_probe.py"), "--subscriber-port", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert probe.stdout is not None
    probe.stdout.readline()
    broker, _ = _broker(bench, store, f"http://127.0.0.1:{port}", arguments, 1)
    out, _ = probe.communicate(f"{broker.port} /default/bench {rate} {max(10, bench.seconds)}\n", timeout=120)
    figures: dict[str, Any] = json.loads(out)
    bench.record(f"{scenario} latency", store, rate=rate, durability=_durability(store, arguments), **figures)
    print(f"  {scenario} at {rate:,.0f}/s: {figures}", flush=True)
    verdict(f"{scenario} p99 end to end at half the rate", figures["to_delivered_us"]["p99"] / 1000, 20.0, "ms")
    bench.stop(broker)


def _broker(bench: Bench, store: str, subscriber: str, arguments: Sequence[str], triggers: int) -> tuple[Subject, int]:
    port, admin = free_port(), free_port()
    types = ["dev.example.order", *(f"dev.example.other-{n}" for n in range(1, triggers))]
    wanted = {
        "brokers": {"default/bench": {"store": store}},
        "triggers": {
            f"default/t{n}": {
                "broker": "bench",
                "subscriber": {"url": subscriber},
                "filters": [{"exact": {"type": type_}}],
            }
            for n, type_ in enumerate(types)
        },
    }
    path = bench.folder / f"broker-{port}.json"
    path.write_text(json.dumps(wanted))
    command = [*DATAPLANE, "broker", "--snapshot", str(path), "--http", f"127.0.0.1:{port}"]
    command += ["--admin", f"127.0.0.1:{admin}", "--data", str(bench.folder / f"broker-{port}"), *arguments]
    return bench.start(f"broker-{store}", command, port, env=PROJECT), admin


def _produce(broker: Subject, seconds: int) -> dict[str, float]:
    run = subprocess.run(
        ["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", "-s", str(HERE / "event.lua"),
         f"http://127.0.0.1:{broker.port}/default/bench"],
        capture_output=True, text=True, check=False, env={"QUANTILES": str(HERE / "quantiles.lua"), "PATH": "/usr/bin"},
    )  # fmt: skip
    last = run.stdout.strip().rpartition("\n")[2]
    if run.returncode or not last.startswith("{"):
        raise Failed(f"{broker.name}: wrk failed: {run.stdout[-300:]}{run.stderr[-300:]}")
    raw = json.loads(last)
    errors = sum(raw.pop(f"{kind}_errors") for kind in ("connect", "read", "write", "status")) + raw.pop("timeouts")
    return {"rps": raw["requests"] / (raw.pop("duration_us") / 1e6), "errors": errors, **raw}


def _delivered(admin: int) -> float:
    text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10).read().decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("dataplane_broker_deliveries_total") and 'outcome="delivered"' in line
    )


def _drained(admin: int) -> float:
    """Delivered in all, when nothing moves any more."""
    before = -1.0
    while (now := _delivered(admin)) != before:
        before = now
        time.sleep(0.3)
    return now


def _durability(store: str, arguments: Sequence[str]) -> str:
    if store == "sqlite":
        return "os" if "broker.durability=os" in arguments else "fsync"
    return {"redis": "appendfsync always", "kafka": "acks=all"}.get(store, "none")


def _servers(bench: Bench) -> list[tuple[str, Sequence[str]]]:
    from servers import kafka, redis

    found: list[tuple[str, Sequence[str]]] = []
    if (address := redis(bench)) is not None:
        found.append(("redis", ("--set", f"broker.redis_url={address}")))
    if (address := kafka(bench)) is not None:
        found.append(("kafka", ("--set", f"broker.kafka_bootstrap={address}")))
    return found
