"""The follower against a real WebSocket server that speaks the control plane's side of the contract."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from aiohttp import WSMsgType, web

from dataplane.clock import SYSTEM, Clock
from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import Change, Revision, Snapshot, full
from dataplane.runtime.lastgood import LastGood
from dataplane.runtime.watch import Follower
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry


def _revision(name: str, timeout_s: float = 300) -> Revision:
    return Revision(namespace="d", name=name, timeout_s=timeout_s)


class ControlPlane:
    """Scripted server: sends what the test puts in, records what it was asked and told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.applied: asyncio.Queue[int] = asyncio.Queue()
        self.first: list[Change | bytes] = []
        self.sockets: list[web.WebSocketResponse] = []
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.refuses_with = 0  # a status

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/dataplane/v1/snapshot", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        for socket in self.sockets:
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def send(self, change: Change | bytes) -> None:
        await self.sockets[-1].send_bytes(change if isinstance(change, bytes) else msgspec.json.encode(change))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.refuses_with:
            return web.Response(status=self.refuses_with)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        for change in self.first:
            await self.send(change)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                self.applied.put_nowait(json.loads(message.data)["applied"])
        return socket


class Hop:
    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.registry = Registry()
        self.tasks = Tasks("test")

    def follow(self, url: str, cache: LastGood | None = None) -> Follower:
        follower = Follower(
            url=url,
            token=Redacted("t0k"),
            on_change=lambda _, change: self.changes.append(change),
            tasks=self.tasks,
            registry=self.registry,
            cache=cache,
        )
        follower.start()
        return follower


async def test_the_first_frame_and_each_change_are_applied_and_acknowledged_in_order() -> None:
    server, hop = ControlPlane(), Hop()
    server.first = [full(Snapshot(generation=5, revisions={"d/a": _revision("a")}))]
    follower = hop.follow(await server.start())
    assert await server.applied.get() == 5
    await server.send(Change(generation=6, base=5, revisions={"d/b": _revision("b")}))
    assert await server.applied.get() == 6
    assert follower.snapshot is not None
    assert sorted(follower.snapshot.revisions) == ["d/a", "d/b"]
    assert server.asked == [{}]
    assert server.tokens == ["Bearer t0k"]
    await hop.tasks.close()
    await server.stop()


async def test_after_a_lost_connection_it_asks_for_the_difference_and_keeps_equal_values() -> None:
    server, hop = ControlPlane(), Hop()
    server.first = [full(Snapshot(generation=5, revisions={"d/a": _revision("a"), "d/b": _revision("b")}))]
    follower = hop.follow(await server.start())
    assert await server.applied.get() == 5
    assert follower.snapshot is not None
    kept = follower.snapshot.revisions["d/a"]
    await server.stop()
    # The restarted control plane answers with everything: only what differs reaches the hop.
    server.first = [full(Snapshot(generation=9, revisions={"d/a": _revision("a"), "d/b": _revision("b", 7)}))]
    await server.start()
    assert await server.applied.get() == 9
    assert server.asked[-1] == {"from": "5"}
    assert follower.snapshot.revisions["d/a"] is kept
    assert list(hop.changes[-1].revisions) == ["d/b"]
    await hop.tasks.close()
    await server.stop()


async def test_a_change_that_does_not_fit_or_is_not_one_asks_for_everything_and_serves_on() -> None:
    server, hop = ControlPlane(), Hop()
    server.first = [full(Snapshot(generation=5, revisions={"d/a": _revision("a")}))]
    follower = hop.follow(await server.start())
    assert await server.applied.get() == 5
    for nonsense in (Change(generation=9, base=7), b"{", b'{"generation":6,"base":5,"revisions":{"d/a":{"x":1}}}'):
        await server.send(nonsense)
        assert await server.applied.get() == 5
        assert server.asked[-1] == {}
    assert follower.snapshot is not None
    assert list(follower.snapshot.revisions) == ["d/a"]
    assert "dataplane_snapshot_errors_total 3\n" in hop.registry.render()
    await hop.tasks.close()
    await server.stop()


async def test_CP_05_a_hop_that_starts_while_the_control_plane_is_away_serves_the_last_good_snapshot(
    tmp_path: Path,
) -> None:
    server, before = ControlPlane(), Hop()
    server.first = [full(Snapshot(generation=5, revisions={"d/a": _revision("a")}))]
    url = await server.start()
    before.follow(url, LastGood(tmp_path / "kept", clock=SYSTEM))
    assert await server.applied.get() == 5
    await before.tasks.close()
    await server.stop()

    a_day_later = Clock(monotonic=SYSTEM.monotonic, wall=lambda: SYSTEM.wall() + 86400)
    after = Hop()
    follower = after.follow(url, LastGood(tmp_path / "kept", clock=a_day_later))
    assert follower.not_ready() != ""
    assert (await follower.first()).revisions == {"d/a": _revision("a")}
    assert follower.not_ready() == ""
    age = [line for line in after.registry.render().splitlines() if line.startswith("dataplane_snapshot_age_seconds")]
    assert 86399 < float(age[0].split()[1]) < 86500

    server.first = [full(Snapshot(generation=8, revisions={"d/a": _revision("a", 9)}))]
    await server.start()
    assert await server.applied.get() == 8
    assert "dataplane_snapshot_age_seconds 0\n" in after.registry.render()
    await after.tasks.close()
    await server.stop()


async def test_CP_05_a_damaged_file_is_refused_and_counted_and_the_hop_waits(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"rubbish")
    hop = Hop()
    follower = hop.follow("http://127.0.0.1:9", LastGood(tmp_path / "kept", clock=SYSTEM))
    errors = hop.registry.counter("dataplane_snapshot_errors_total", "")
    while errors.cell().v < 2:
        await asyncio.sleep(0.01)
    assert follower.snapshot is None
    await hop.tasks.close()


async def test_the_last_snapshot_is_on_disk_after_an_orderly_end(tmp_path: Path) -> None:
    server, hop, cache = ControlPlane(), Hop(), LastGood(tmp_path / "kept", clock=SYSTEM)
    server.first = [full(Snapshot(generation=1))]
    hop.follow(await server.start(), cache)
    for generation in range(1, 20):
        assert await server.applied.get() == generation
        await server.send(
            Change(generation=generation + 1, base=generation, revisions={"d/a": _revision(f"r{generation}")})
        )
    assert await server.applied.get() == 20
    await hop.tasks.close()
    kept = cache.load()
    assert kept is not None
    assert kept.snapshot.generation == 20
    await server.stop()


async def test_a_change_that_the_hop_refuses_is_not_acknowledged_and_asked_for_again() -> None:
    server, hop = ControlPlane(), Hop()
    server.first = [full(Snapshot(generation=5, revisions={"d/a": _revision("a")}))]
    refused: list[int] = []

    def picky(snapshot: Snapshot, change: Change) -> None:
        if not refused:
            refused.append(snapshot.generation)
            raise ConfigFault("not yet")

    follower = Follower(
        url=await server.start(), token=Redacted("t"), on_change=picky, tasks=hop.tasks, registry=hop.registry
    )
    follower.start()
    assert await server.applied.get() == 5
    assert (refused, len(server.asked), server.applied.qsize()) == ([5], 2, 0)
    await hop.tasks.close()
    await server.stop()


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "HTTP 401: the control plane does not know this token; --token-file"), (404, "HTTP 404: no")],
)
async def test_why_the_control_plane_does_not_let_it_in_is_said(
    status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, hop = ControlPlane(), Hop()
    server.refuses_with = status
    follower = hop.follow(await server.start())
    while len(server.tokens) < 2:
        await asyncio.sleep(0.01)
    assert words in caplog.text
    server.refuses_with = 0
    server.first = [full(Snapshot(generation=1))]
    async with asyncio.timeout(10):
        await follower.first()
    await hop.tasks.close()
    await server.stop()
