"""What does a delivery cost when an event has many triggers? (E6)

As E3, with 1, 10 and 100 triggers that all want every event; figures are per delivery. The event is stored once and
handed over by reference, so the first delivery of an event is the dearest.
"""

import json
import subprocess
import sys

from harness import HERE, Bench, Failed, spread, verdict
from subjects import nginx

DELIVERIES = 60_000
TRIGGERS = (1, 10, 100)


def what_does_fan_out_cost(bench: Bench) -> None:
    """E6: CPU per delivery, × that of an event with one trigger."""
    sink = nginx(bench, "subscriber", 0)
    program = str(HERE / "apps" / "event_deliver.py")
    found: dict[int, list[float]] = {count: [] for count in TRIGGERS}
    for number in range(bench.rounds):
        for count, costs in found.items():
            command = [sys.executable, program, "deliver", "--port", str(sink.port), "--triggers", str(count)]
            run = subprocess.run([*command, "--count", str(DELIVERIES)], capture_output=True, text=True, check=False)
            if run.returncode:
                raise Failed(f"event_deliver: {run.stderr[-500:]}")
            figures = json.loads(run.stdout)
            costs.append(figures["cpu_us"])
            bench.record("E6", f"{count} triggers", round=number, connections=100, **figures)
    for count, costs in found.items():
        cpu = spread(costs)
        print(
            f"  {count:4} triggers {cpu['min']:6.1f}–{cpu['median']:.1f}–{cpu['max']:.1f} µs per delivery", flush=True
        )
    ratios = [many / one for many, one in zip(found[TRIGGERS[-1]], found[1], strict=True)]
    verdict("E6 a delivery among 100 triggers, × alone", spread(ratios)["median"], 1.2, "×")
