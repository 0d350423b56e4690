"""Does a subscriber that is slow, silent or away delay the events of another trigger? (E4)

One process, memory store, two triggers of one broker, 2 000 events of 1 KB per second. Figures are of the healthy
trigger: accepted to settled. "well" is the run to compare with: both subscribers answer at once.
"""

import json
import socket
import subprocess
import sys

from harness import HERE, Bench, Failed, free_port, spread, verdict
from subjects import nginx

RATE = 2000
LIMIT = 2.0


def does_a_slow_subscriber_delay_others(bench: Bench) -> None:
    """E4: p99 of the healthy trigger, × both healthy."""
    well = nginx(bench, "subscriber", 0)
    port = free_port()
    program = str(HERE / "apps" / "slow_subscriber.py")
    slow = bench.start("slow", [sys.executable, program, "serve", "--port", str(port), "--delay-s", "1"], port)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)  # connects until the queue is full, and says nothing
        others = {
            "well": f"http://127.0.0.1:{well.port}/other",
            "slow (1 s)": f"http://127.0.0.1:{slow.port}/",
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}/",
            "refused": "http://127.0.0.1:1/",
        }
        found: dict[str, list[float]] = {name: [] for name in others}
        for number in range(bench.rounds):
            for name, url in others.items():
                figures = _run(program, f"http://127.0.0.1:{well.port}/", url, bench.seconds)
                found[name].append(figures["p99"])
                bench.record("E4", name, round=number, rate=RATE, **figures)
                print(
                    f"  other is {name:10} delivered {figures['delivered']:,.0f} of {figures['sent']:,.0f},"
                    f" p50 {figures['p50'] / 1000:.1f} ms, p99 {figures['p99'] / 1000:.1f} ms,"
                    f" {figures['cpu_us']:.0f} µs of CPU per event, other behind {figures['other_behind']:,.0f},"
                    f" RSS {figures['rss_mib']:.0f} MiB",
                    flush=True,
                )
    for name, p99s in found.items():
        ratios = [mine / base for mine, base in zip(p99s, found["well"], strict=True)]
        verdict(f"E4 p99 while another subscriber is {name}, × both well", spread(ratios)["median"], LIMIT, "×")


def _run(program: str, well: str, other: str, seconds: int) -> dict[str, float]:
    command = [sys.executable, program, "measure", "--well", well, "--other", other]
    run = subprocess.run(
        [*command, "--rate", str(RATE), "--seconds", str(seconds)], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise Failed(f"slow_subscriber: {run.stderr[-500:]}")
    figures: dict[str, float] = json.loads(run.stdout)
    return figures
