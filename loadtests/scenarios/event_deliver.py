"""What does the delivery of one event cost, HTTP client and all? (E3)

A process with the memory store sends 1 KB events to nginx, which answers 204, over 100 connections. What the same
process spends on store and records alone is measured beside it and subtracted; beside both, in the same round, a bare
asyncio.Protocol that sends the same bytes: what no Python client on this machine can go below.
"""

import json
import subprocess
import sys

from harness import HERE, Bench, Failed, spread, verdict
from subjects import nginx

COUNT = 60_000
BUDGET_US = 35.0


def what_does_a_delivery_cost(bench: Bench) -> None:
    """E3: CPU of the delivering process per event."""
    sink = nginx(bench, "subscriber", 0)
    found: dict[str, list[float]] = {"bare": [], "store": [], "deliver": []}
    for number in range(bench.rounds):
        for what, costs in found.items():
            figures = _run(what, sink.port)
            costs.append(figures["cpu_us"])
            bench.record("E3", what, round=number, connections=100, **figures)
    for what, costs in found.items():
        cpu = spread(costs)
        print(f"  {what:8} {cpu['min']:6.1f}–{cpu['median']:.1f}–{cpu['max']:.1f} µs of CPU per event", flush=True)
    own = [deliver - store for deliver, store in zip(found["deliver"], found["store"], strict=True)]
    verdict("E3 delivery, CPU per event", spread(own)["median"], BUDGET_US, "µs")
    ratios = [cost / bare for cost, bare in zip(own, found["bare"], strict=True)]
    print(f"  delivery is {spread(ratios)['median']:.1f} × a bare protocol of asyncio")


def _run(what: str, port: int) -> dict[str, float]:
    command = [
        sys.executable,
        str(HERE / "apps" / "event_deliver.py"),
        what,
        "--port",
        str(port),
        "--count",
        str(COUNT),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Failed(f"{what}: {run.stderr[-500:]}")
    figures: dict[str, float] = json.loads(run.stdout)
    return figures
