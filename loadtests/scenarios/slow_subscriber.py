"""Does a subscriber that is slow, silent, cut off or away take anything from another trigger? (E4, reliability BR-09)

One process, SQLite with fsync, two triggers of one broker, events of 1 KB. Figures are of the trigger whose subscriber
is well: from accepted to settled at 2 000 events per second, then how many it gets when events come as fast as they are
delivered to it. "well" is the run to compare with, and each round has its own: both subscribers answer at once.

Deliveries per second of CPU are what the broker's own work comes to, whatever else runs on the machine.
"""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness import HERE, Bench, Failed, free_port, spread, verdict
from lossy import lossy
from subjects import nginx

RATE = 2000
SLOWER_MAX = 2.0
SHARE_MIN = 0.9
LOSS = 0.2
PORT = 8080  # on the far host
PROGRAM = str(HERE / "apps" / "slow_subscriber.py")


def does_a_slow_subscriber_delay_others(bench: Bench) -> None:
    """E4: p99 of the healthy trigger, and its deliveries per second, × both healthy."""
    well = nginx(bench, "subscriber", 0).port
    with _others(bench, well) as others:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in others}
        for number in range(bench.rounds):
            for name, url in others.items():
                figures = _run(bench, f"http://127.0.0.1:{well}/", url)
                found[name].append(figures)
                bench.record("E4", name, round=number, store="sqlite", durability="fsync", rate=RATE, **figures)
                print(
                    f"  other is {name:25} p50 {figures['p50'] / 1000:.1f} ms, p99 {figures['p99'] / 1000:.1f} ms at"
                    f" {RATE:,}/s; at most {figures['per_s']:,.0f}/s, {figures['per_cpu_s']:,.0f}/s of CPU; other:"
                    f" {figures['other_delivered']:,.0f} delivered, {figures['other_retried']:,.0f} tried again,"
                    f" {figures['other_behind']:,.0f} behind; RSS {figures['rss_mib']:.0f} MiB",
                    flush=True,
                )
    for name, mine in found.items():
        for figure, what in (("p99", "p99"), ("per_s", "delivered per second"), ("per_cpu_s", "… of CPU")):
            ratios = [one[figure] / base[figure] for one, base in zip(mine, found["well"], strict=True)]
            least = figure != "p99"
            limit = SHARE_MIN if least else SLOWER_MAX
            ratio = spread(ratios)["median"]
            verdict(f"E4 {what} while another subscriber is {name}, × both well", ratio, limit, "×", least=least)


@contextmanager
def _others(bench: Bench, well: int) -> Iterator[dict[str, str]]:
    """What the other subscriber is → its URL."""

    def serve(name: str, *arguments: str) -> str:
        port = free_port()
        bench.start(name, [sys.executable, PROGRAM, "serve", "--port", str(port), *arguments], port)
        return f"http://127.0.0.1:{port}/"

    with socket.socket() as full, lossy(LOSS) as far:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):  # its queue is full: what comes now is dropped
            others = {
                "well": f"http://127.0.0.1:{well}/other",
                "slow (1 s)": serve("slow", "--delay-s", "1"),
                "silent": serve("silent", "--delay-s", "3600"),
                "blackholed (SYN dropped)": f"http://127.0.0.1:{full.getsockname()[1]}/",
                "resetting": serve("resetting", "--reset"),
                "resetting one in five": f"http://127.0.0.1:{well}/lossy",
                "refusing": "http://127.0.0.1:1/",
            }
            if far is not None:
                command = [*far.inside, sys.executable, PROGRAM, "serve", "--host", far.address, "--port", str(PORT)]
                bench.start("far", [*command, "--delay-s", "0"], PORT, ready=_ready)
                others[f"losing {LOSS:.0%} of packets"] = f"http://{far.address}:{PORT}/"
            yield others


def _ready(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise Failed("ended early")
    return PORT


def _run(bench: Bench, well: str, other: str) -> dict[str, float]:
    folder = bench.folder / "events"
    command = [sys.executable, PROGRAM, "measure", "--folder", str(folder), "--well", well, "--other", other]
    run = subprocess.run(
        [*command, "--rate", str(RATE), "--seconds", str(bench.seconds)], capture_output=True, text=True, check=False
    )
    shutil.rmtree(folder, ignore_errors=True)
    if run.returncode:
        raise Failed(f"slow_subscriber: {run.stderr[-500:]}")
    figures: dict[str, float] = json.loads(run.stdout)
    return figures
