"""What do ten thousand routes cost, and does anybody notice when one of them changes? (P5)"""

import asyncio
import json
import sys
import time

from aiohttp import web
from harness import HERE, HOST, Bench, Subject, drive, free_port, quantiles, spread, verdict
from scenarios.steady_path import report
from subjects import DATAPLANE, PROJECT, backend, gateway, snapshot

ROUTES, REVISIONS = 10_000, 1_000
SWAPS = 200
SWAP_EVERY_S = 0.05
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def what_do_ten_thousand_routes_cost(bench: Bench) -> None:
    """P5: matching, swapping one change in, and requests while changes arrive at 20 a second from a control plane."""
    _match_and_swap(bench)
    _requests(bench)
    asyncio.run(_during_swaps(bench))


def _match_and_swap(bench: Bench) -> None:
    """Our own functions, in this process: nanoseconds per match, milliseconds per change."""
    sys.path.insert(0, str(HERE.parent))
    import msgspec

    from dataplane.resources.snapshot import Change, Snapshot, changed
    from gateway.match import RouteTable, match

    class Origin:
        port = 9

    tables = {}
    for name, (routes, revisions) in {"small": (1, 2), "big": (ROUTES, REVISIONS)}.items():
        view = msgspec.convert(snapshot(Origin, routes=routes, revisions=revisions), Snapshot)  # type: ignore[arg-type]
        tables[name] = (view, RouteTable().updated(Snapshot(), view, None))
    cost: dict[str, list[float]] = {name: [] for name in tables}
    host = HOST.encode()
    for _ in range(7):
        for name, (_, table) in tables.items():
            hosts, began = table.external, time.perf_counter_ns()
            for _ in range(100_000):
                match(hosts, host, b"/", _no_header)
            cost[name].append((time.perf_counter_ns() - began) / 100_000)
    view, table = tables["big"]
    swaps = []
    for number in range(SWAPS):
        key = f"default/bench-{number + 1}"
        route = msgspec.structs.replace(view.routes[key], hash=str(number))
        change = Change(generation=view.generation + 1, base=view.generation, routes={key: route})
        began = time.perf_counter()
        after = changed(view, change)
        table = table.updated(view, after, change)
        swaps.append((time.perf_counter() - began) * 1000)
        view = after
    small, big = min(cost["small"]), min(cost["big"])
    bench.record("P5", "match", unit="ns", small=spread(cost["small"]), big=spread(cost["big"]), routes=ROUTES)
    bench.record("P5", "swap", unit="ms", routes=ROUTES, revisions=REVISIONS, **quantiles(swaps))
    print(f"  match: {small:.0f} ns with one route, {big:.0f} ns with {ROUTES}")
    print("  swap: " + "  ".join(f"{key} {value:.2f}" for key, value in quantiles(swaps).items()) + " ms")
    verdict("P5 match cost, 10 000 routes × 1", big / small, 1.1, "×")
    verdict("P5 one change swapped in, p99", quantiles(swaps)["p99"], 5, "ms")


def _requests(bench: Bench) -> None:
    """The same from outside: CPU per request behind one route and behind ten thousand."""
    origin = backend(bench)
    everyone = [
        gateway(bench, snapshot(origin), name="1 route"),
        gateway(bench, snapshot(origin, routes=ROUTES, revisions=REVISIONS), name="10000 routes"),
    ]
    rows: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in everyone}
    for subject in everyone:
        drive(subject, connections=64, seconds=1)
    for number in range(bench.rounds):
        for subject in everyone:
            figures = drive(subject, connections=64, seconds=bench.seconds)
            rows[subject.name].append(figures)
            bench.record("P5", subject.name, connections=64, round=number, **figures)
    bench.stop()
    report(rows)
    ratios = [b["cpu_us"] / a["cpu_us"] for a, b in zip(rows["1 route"], rows["10000 routes"], strict=True)]
    verdict("P5 CPU per request, 10 000 routes × 1", spread(ratios)["median"], 1.1, "×")


async def _during_swaps(bench: Bench) -> None:
    """A gateway that follows us as its control plane; the longest request with changes arriving, and without."""
    origin = backend(bench)
    plane = ControlPlane(snapshot(origin, routes=ROUTES, revisions=REVISIONS))
    await plane.start()
    try:
        subject = await asyncio.to_thread(_follower, bench, plane.port)
        await plane.follower.wait()
        await _await_answer(subject)
        calm = await _latencies(subject, SWAPS * SWAP_EVERY_S)
        swapping = asyncio.ensure_future(plane.swap(SWAPS, SWAP_EVERY_S))
        busy = await _latencies(subject, SWAPS * SWAP_EVERY_S)
        applied = await swapping
    finally:
        await plane.stop()
    for label, values in (
        ("request, no changes", calm),
        ("request, 20 changes/s", busy),
        ("change to applied", applied),
    ):
        figures = quantiles(values)
        bench.record("P5", label, unit="ms", samples=len(values), routes=ROUTES, revisions=REVISIONS, **figures)
        print(f"  {label:22} " + "  ".join(f"{key} {value:.2f}" for key, value in figures.items()) + " ms", flush=True)
    verdict("P5 longest request while swapping, above the longest without", max(busy) - max(calm), 5, "ms")


class ControlPlane:
    """The publisher's side of the follow protocol, nothing else: a full snapshot, then one changed route at a time."""

    def __init__(self, view: dict) -> None:
        self.view, self.port = view, free_port()
        self.follower = asyncio.Event()
        self._socket: web.WebSocketResponse | None = None
        self._applied: dict[int, asyncio.Future[float]] = {}
        app = web.Application()
        app.router.add_get("/dataplane/v1/snapshot", self._follow)
        self._runner = web.AppRunner(app)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._runner.cleanup()

    async def swap(self, count: int, every_s: float) -> list[float]:
        """Changes `count` routes one after another; milliseconds from sending each to its acknowledgement."""
        took, loop = [], asyncio.get_running_loop()
        assert self._socket is not None
        for number in range(1, count + 1):
            key, base = f"default/bench-{number}", self.view["generation"]
            route = {**self.view["routes"][key], "hash": str(base)}
            self.view["generation"] = base + 1
            self._applied[base + 1] = loop.create_future()
            began = time.perf_counter()
            await self._socket.send_str(json.dumps({"generation": base + 1, "base": base, "routes": {key: route}}))
            took.append((await self._applied[base + 1] - began) * 1000)
            del self._applied[base + 1]
            await asyncio.sleep(every_s)
        return took

    async def _follow(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self._socket = socket
        await socket.send_str(json.dumps({**self.view, "base": -1}))
        async for message in socket:
            said = json.loads(message.data)
            if "applied" not in said:
                continue  # which pods are at work: nothing to this control plane
            generation = said["applied"]
            self.follower.set()
            if (waiter := self._applied.get(generation)) is not None:
                waiter.set_result(time.perf_counter())
        return socket


def _follower(bench: Bench, control: int) -> Subject:
    port = free_port()
    data = str(bench.folder / "follower")
    command = [*DATAPLANE, "gateway", "--control", f"http://127.0.0.1:{control}", "--http", f"127.0.0.1:{port}"]
    return bench.start("follower", command, port, env=PROJECT | {"DATAPLANE_DATA": data, "DATAPLANE_TOKEN": "bench"})


async def _await_answer(subject: Subject) -> None:
    await _latencies(subject, 0.5)


async def _latencies(subject: Subject, seconds: float) -> list[float]:
    """Milliseconds of one request after another on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port)
    took, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        took.append((time.perf_counter() - began) * 1000)
    writer.close()
    return took


def _no_header(name: bytes) -> bytes | None:
    return None
