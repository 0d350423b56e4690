"""Does what is new wait behind what was missed, when a subscriber comes back? (E7, reliability.md BR-15)

One process, SQLite with fsync, Redis with `appendfsync always`, Kafka with acks=all; one trigger, events of 1 KB at a
steady rate. Its subscriber is killed, and started again E7_OUTAGE_S later (120; BR-15 asks for 600, a million events).
One round. E7_STORES: some of the three.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from harness import HERE, Bench, Failed, free_port, verdict
from servers import kafka, start_redis

RATE = 1700  # a million in ten minutes
OUTAGE_S = float(os.environ.get("E7_OUTAGE_S", "120"))
STORES = os.environ.get("E7_STORES", "sqlite redis kafka").split()


def does_what_is_new_wait_after_an_outage(bench: Bench) -> None:
    """E7: p99 of what is new, × before the outage; what a subscriber gets in the first minute, × its steady rate."""
    if "sqlite" in STORES:
        _row(bench, "sqlite", "fsync", ())
    redis = start_redis(bench, "always") if "redis" in STORES else None
    if redis is not None:
        _row(bench, "redis", "appendfsync always", ("--redis", f"redis://127.0.0.1:{redis.port}/0"))
        bench.stop(redis)
    address = kafka(bench) if "kafka" in STORES else None
    if address is not None:
        _row(bench, "kafka", "acks=all", ("--kafka", address))


def _row(bench: Bench, store: str, durability: str, arguments: Sequence[str]) -> None:
    port = free_port()
    serve = [sys.executable, str(HERE / "apps" / "slow_subscriber.py"), "serve"]
    serve += ["--port", str(port), "--delay-s", "0.002"]
    subscriber = bench.start("subscriber", serve, port)
    command = [sys.executable, str(HERE / "apps" / "after_outage.py"), "--folder", str(bench.folder / "events")]
    command += ["--subscriber", f"http://127.0.0.1:{port}/", "--rate", str(RATE), "--outage-s", str(OUTAGE_S)]
    command += arguments
    broker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert broker.stdin is not None
    assert broker.stdout is not None
    try:
        for wanted in ("away", "back"):
            if broker.stdout.readline().strip() != wanted:
                raise Failed("after_outage: ended early")
            if wanted == "away":
                bench.stop(subscriber)
            else:
                subscriber = bench.start("subscriber", serve, port)
            broker.stdin.write("\n")
            broker.stdin.flush()
        figures = json.loads(broker.stdout.readline())
        broker.wait()
    finally:
        broker.kill()
        bench.stop(subscriber)
    bench.record("E7", store, durability=durability, **figures)
    print(
        f"  {store}: {figures['behind']:,} behind after {OUTAGE_S:.0f} s; p50/p99 of what is new: before"
        f" {figures['before_p50_ms']:.1f}/{figures['before_p99_ms']:.1f} ms, in the first minute"
        f" {figures['minute_p50_ms']:.1f}/{figures['minute_p99_ms']:.1f} ms, until all was caught up"
        f" ({figures['caught_up_s']:.0f} s) {figures['all_p50_ms']:.1f}/{figures['all_p99_ms']:.1f} ms;"
        f" RSS {figures['rss_mib']:.0f} MiB",
        flush=True,
    )
    if figures["missing"]:
        raise Failed(f"{figures['missing']} events never came")
    for span, name in (("in the first minute", "minute"), ("until caught up", "all")):
        ratio = figures[f"{name}_p99_ms"] / figures["before_p99_ms"]
        verdict(f"E7 {store}, p99 of what is new {span}, × before", ratio, 5, "×")
    verdict(f"E7 {store}, delivered in the first minute, × steady", figures["first_minute"] / (60 * RATE), 2, "×")
