"""What does it cost to accept an event? The ingress alone, then with each local store, nobody subscribed. (E2)"""

import json
import subprocess
import sys

from harness import HERE, Bench, Failed, Subject, free_port, spread
from subjects import DATAPLANE, PROJECT

CONNECTIONS = (1, 64)


def what_does_it_cost_to_accept_an_event(bench: Bench) -> None:
    """E2: binary events of 1 KB; CPU of the broker process per event, and how long a producer waits for its 202."""
    stores = (("memory", ""), ("sqlite", "os"), ("sqlite", "fsync"))
    subjects = [_alone(bench), *(_with_store(bench, store, durability) for store, durability in stores)]
    for subject in subjects:
        _produce(subject, 64, 1)  # warm
    for connections in CONNECTIONS:
        print(f"  {connections} connections")
        for number in range(bench.rounds):
            for subject in subjects:
                figures = _produce(subject, connections, bench.seconds)
                bench.record("E2", subject.name, connections=connections, round=number, **figures)
        for subject in subjects:
            rows = [row for row in bench.rows if (row["subject"], row["connections"]) == (subject.name, connections)]
            cpu, rps, p99 = (spread([row[key] for row in rows]) for key in ("cpu_us", "rps", "p99"))
            errors = sum(row["errors"] for row in rows)
            print(
                f"  {subject.name:24} {cpu['min']:.1f}–{cpu['median']:.1f}–{cpu['max']:.1f} µs/event,"
                f" {rps['median']:,.0f}/s, p99 {p99['median']:,.0f} µs, errors {errors:.0f}",
                flush=True,
            )


def _alone(bench: Bench) -> Subject:
    port = free_port()
    program = str(HERE / "apps" / "ingress.py")
    return bench.start("ingress alone", [sys.executable, program, str(port)], port, env=PROJECT)


def _with_store(bench: Bench, store: str, durability: str) -> Subject:
    port, admin = free_port(), free_port()
    path = bench.folder / f"ingest-{port}.json"
    path.write_text(json.dumps({"brokers": {"default/bench": {"store": store}}, "triggers": {}}))
    command = [*DATAPLANE, "broker", "--snapshot", str(path), "--http", f"127.0.0.1:{port}"]
    command += ["--admin", f"127.0.0.1:{admin}", "--data", str(bench.folder / f"ingest-{port}")]
    if durability:
        command += ["--set", f"broker.durability={durability}"]
    return bench.start(f"broker {store} {durability}".strip(), command, port, env=PROJECT)


def _produce(subject: Subject, connections: int, seconds: int) -> dict[str, float]:
    before = subject.cpu_s()
    run = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / "event.lua"),
         f"http://127.0.0.1:{subject.port}/default/bench"],
        capture_output=True, text=True, check=False, env={"QUANTILES": str(HERE / "quantiles.lua"), "PATH": "/usr/bin"},
    )  # fmt: skip
    used_s = subject.cpu_s() - before
    last = run.stdout.strip().rpartition("\n")[2]
    if run.returncode or not last.startswith("{"):
        raise Failed(f"{subject.name}: wrk failed: {run.stdout[-300:]}{run.stderr[-300:]}")
    raw = json.loads(last)
    errors = sum(raw.pop(f"{kind}_errors") for kind in ("connect", "read", "write", "status")) + raw.pop("timeouts")
    requests = raw["requests"]
    if not requests:
        raise Failed(f"{subject.name}: wrk finished no request")
    rps = requests / (raw.pop("duration_us") / 1e6)
    return {"cpu_us": used_s / requests * 1e6, "rps": rps, "errors": errors, **raw}
