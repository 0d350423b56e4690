"""What becomes of a million events whose subscriber is away: memory, the trigger beside it, the way back. (E5)

One process, SQLite, two triggers, 1 KB events appended as fast as they become durable. When the healthy trigger has
all of them the other's subscriber starts. One round: it takes minutes.
"""

import json
import subprocess
import sys

from harness import HERE, Bench, Failed, free_port, verdict
from subjects import nginx

COUNT = 1_000_000
RSS_MIB = 200.0


def does_a_dead_subscriber_cost_memory(bench: Bench) -> None:
    """E5: RSS, and how it catches up."""
    well = nginx(bench, "subscriber", 0)
    port = free_port()
    command = [sys.executable, str(HERE / "apps" / "dead_subscriber.py"), "--folder", str(bench.folder / "events")]
    command += ["--well", f"http://127.0.0.1:{well.port}/", "--away", f"http://127.0.0.1:{port}/"]
    broker = subprocess.Popen([*command, "--count", str(COUNT)], stdout=subprocess.PIPE, text=True)
    assert broker.stdout is not None
    try:
        if broker.stdout.readline().strip() != "gone":
            raise Failed("dead_subscriber: ended early")
        nginx(bench, "subscriber", 0, port=port)
        figures = json.loads(broker.stdout.readline())
        broker.wait()
    finally:
        broker.kill()
    bench.record("E5", "sqlite", durability="os", **figures)
    print(
        f"  {figures['events']:,} events appended in {figures['appended_s']:.0f} s, delivered to the healthy one in"
        f" {figures['well_s']:.0f} s; {figures['behind']:,} behind; back: {figures['first_minute']:,.0f} in the first"
        f" minute, all after {figures['caught_up_s']:.0f} s; {figures['parked']} parked",
        flush=True,
    )
    verdict(f"E5 RSS with {COUNT:,} events behind", figures["rss_mib"], RSS_MIB, "MiB")
