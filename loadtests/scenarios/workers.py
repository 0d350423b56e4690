"""Does a second worker process cost anything? (P3)"""

from harness import Bench, drive, spread, verdict
from scenarios.steady_path import report
from subjects import steady


def what_do_two_workers_cost(bench: Bench) -> None:
    """P3: CPU per request of two workers behind one port, against one, in the same run."""
    everyone = [
        steady(bench, "--workers", "1", name="one worker"),
        steady(bench, "--workers", "2", name="two workers"),
    ]
    rows: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in everyone}
    for subject in everyone:
        drive(subject, connections=64, seconds=1)
    for number in range(bench.rounds):
        for subject in everyone:
            figures = drive(subject, connections=64, seconds=bench.seconds)
            rows[subject.name].append(figures)
            bench.record("P3", subject.name, connections=64, round=number, headers=12, **figures)
    report(rows)
    ratios = [b["cpu_us"] / a["cpu_us"] for a, b in zip(rows["one worker"], rows["two workers"], strict=True)]
    verdict("P3 CPU per request, two workers × one", spread(ratios)["median"], 1.1, "×")
