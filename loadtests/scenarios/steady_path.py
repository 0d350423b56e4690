"""What does a request cost, and how long does it take, when everything is warm? (P1, P2)"""

from harness import Bench, Subject, drive, spread, verdict
from subjects import backend, gateway, peer, snapshot, steady

PEERS = ("haproxy", "envoy", "nginx", "aiohttp")
OURS = ("gateway", "dataplane up")


def what_does_a_request_cost(bench: Bench) -> None:
    """P1: CPU per request with 12 headers and 64 connections, beside the peers in the same run. Once with every request
    alike, and once with no two alike: another path, query, cookie, request id and trace each."""
    for scenario, varied in (("P1", False), ("P1 varied", True)):
        print(f"  {scenario}")
        rows = _rounds(bench, scenario, 64, varied=varied, floor=True)
        for ours in OURS:
            for theirs, limit in (("envoy", 0.55), ("haproxy", 2.0)):
                if theirs in rows:
                    ratios = [a["cpu_us"] / b["cpu_us"] for a, b in zip(rows[ours], rows[theirs], strict=True)]
                    verdict(f"{scenario} {ours}, CPU per request, × {theirs}", spread(ratios)["median"], limit, "×")


def how_long_does_a_request_take(bench: Bench) -> None:
    """P2: p50 and p99 at 1 and at 64 connections, beside the peers in the same run."""
    for connections in (1, 64):
        rows = _rounds(bench, "P2", connections)
        if "envoy" not in rows:
            continue
        for ours in OURS:
            for quantile in ("p50", "p99"):
                pairs = zip(rows[ours], rows["envoy"], strict=True)
                ratio = spread([a[quantile] / b[quantile] for a, b in pairs])["median"]
                verdict(f"P2 {ours}, {quantile} at {connections} connections, × envoy", ratio, 1.0, "×")


def subjects(bench: Bench, *, floor: bool = False) -> list[Subject]:
    """The peers that are installed, and our two forms, each in front of the same kind of backend. `floor`: also what
    the sockets alone cost, in the loop that we use."""
    origin = backend(bench)
    found = [subject for name in PEERS if (subject := peer(bench, name, origin))]
    if floor:
        found += filter(None, [peer(bench, "splice", origin)])
    return [*found, gateway(bench, snapshot(origin)), steady(bench)]


def _rounds(
    bench: Bench, scenario: str, connections: int, *, varied: bool = False, floor: bool = False
) -> dict[str, list[dict[str, float]]]:
    everyone = subjects(bench, floor=floor)
    rows: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in everyone}
    for subject in everyone:
        drive(subject, connections=connections, seconds=1)  # warm
    for number in range(bench.rounds):
        for subject in everyone:
            figures = drive(subject, connections=connections, seconds=bench.seconds, varied=varied)
            rows[subject.name].append(figures)
            bench.record(scenario, subject.name, connections=connections, round=number, headers=12, **figures)
    bench.stop()
    report(rows)
    return rows


def report(rows: dict[str, list[dict[str, float]]]) -> None:
    """A table: CPU per request as min–median–max, the rest as medians."""
    print(f"  {'':16} {'CPU µs/request':>22} {'req/s':>9} {'p50 µs':>8} {'p99 µs':>8} {'errors':>7}")
    for name, figures in rows.items():
        cpu = spread([f["cpu_us"] for f in figures])
        rps, p50, p99 = (spread([f[key] for f in figures])["median"] for key in ("rps", "p50", "p99"))
        errors = sum(f["errors"] for f in figures)
        noise = f"{cpu['min']:.1f}–{cpu['median']:.1f}–{cpu['max']:.1f}"
        print(f"  {name:16} {noise:>22} {rps:9.0f} {p50:8.0f} {p99:8.0f} {errors:7.0f}", flush=True)
