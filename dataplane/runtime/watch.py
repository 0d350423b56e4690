"""Follow the control plane: every change of the snapshot, applied in order and acknowledged.

Path: controlplane/hops.py → WebSocket → [watch] → on_change → gateway, activator, autoscaler.

The server sends JSON `Change` frames (the whole snapshot first, or what differs from `?from=GENERATION`); each is
answered with `{"applied": GENERATION}` after `on_change` returned. A change that does not fit asks for a whole one.
What a broker process has to say (`say`) goes the same way as `{"reported": …}`, all of it again with each connection:
the control plane forgets it when the connection ends.
A hop that has requests on pods says on which (`running`): after each change, and while there are any. Scale-in then
takes idle pods, and a pod that drains is stopped when every hop has let go of it.
A lost connection costs nothing: the hop serves what it has and connects again with a jittered back-off.

Source: architecture.md "The four contracts" 1; reliability.md CP-05, GW-33.
"""

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import Change, Running, Snapshot, V, changed, difference, full
from dataplane.resources.triggers import Reported
from dataplane.runtime.lastgood import LastGood
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

OnChange = Callable[[Snapshot, Change], None]
"""Called on the loop with the new snapshot and what differs from the one before. Returns when it is in force.
Raises ConfigFault when it cannot be: the hop then serves what it had."""

FRAME_BYTES_MAX = 256 * 1024 * 1024
MESSAGE_CHARS_MAX = 2000
RUNNING_MAX = 2000  # pods named in one frame
COUNT_S = 0.1  # between two of them
_BACKOFF_FIRST_S, _BACKOFF_FACTOR, _BACKOFF_MAX_S = 0.1, 1.5, 5.0
_CONNECT_S = 5.0
_PING_S = 10.0  # a control plane that vanished without a FIN is noticed within two of these
_SAVE_EVERY_S = 1.0  # endpoints change often; the disk sees one write per second at most


class SnapshotMeters:
    """What /metrics says about the snapshot in force; shared by the two ways to follow one."""

    def __init__(self, registry: Registry) -> None:
        self.generation = registry.gauge(
            "dataplane_snapshot_generation", "Generation of the snapshot in force; 0 = none."
        ).cell()
        self.age = registry.gauge(
            "dataplane_snapshot_age_seconds", "Seconds since the source of the snapshot was last heard; -1 = never."
        ).cell()
        self.reachable = registry.gauge(
            "dataplane_snapshot_source_reachable", "1 while the source of the snapshot is reachable and valid."
        ).cell()
        self.errors = registry.counter(
            "dataplane_snapshot_errors_total", "Snapshots or changes that were refused, and lost connections."
        ).cell()
        self.age.v = -1


class Follower:
    """Keeps `on_change` up to date with the control plane at `url` (`http://host:port`).

    token: bearer token of the API. cache: where the last good snapshot is kept; it is applied when the first attempt to
    connect fails, so a hop that starts while the control plane is away serves what it served before.
    """

    def __init__(
        self,
        *,
        url: str,
        token: Redacted,
        on_change: OnChange,
        tasks: Tasks,
        registry: Registry,
        cache: LastGood | None = None,
        running: Callable[[], dict[str, int]] | None = None,
        activator: str = "",
    ) -> None:
        """`running`: requests that this process has on pods, by Endpoint.id; those without any left out.

        `activator`: its name, when this process is one (Snapshot.activators).
        """
        self._url = f"{url.rstrip('/')}/dataplane/v1/snapshot"
        self._token = token
        self._on_change = on_change
        self._tasks = tasks
        self._cache = cache
        self._running = running
        self._activator = activator
        self._counting = asyncio.Event()
        self._meters = SnapshotMeters(registry)
        self._snapshot: Snapshot | None = None
        self._saved: Snapshot | None = None
        self._heard_at: float | None = None
        self._connected = False
        self._random = random.Random()
        self._said: dict[tuple[str, str], Reported] = {}  # the newest about each broker and trigger of the snapshot
        self._unsaid: dict[tuple[str, str], None] = {}
        self._to_say = asyncio.Event()
        self._first = asyncio.Event()
        self._unsaved = asyncio.Event()
        registry.before_render(self._refresh)

    @property
    def snapshot(self) -> Snapshot | None:
        """The one in force, None before the first."""
        return self._snapshot

    @property
    def connected(self) -> bool:
        return self._connected

    def not_ready(self) -> str:
        """For /readyz: "" as soon as there is a snapshot, from wherever it came."""
        return "" if self._snapshot is not None else f"no snapshot from {self._url} yet"

    def say(self, said: Reported) -> None:
        """Tell the control plane, now or as soon as there is one."""
        place = (said.kind, said.key)
        if len(said.message) > MESSAGE_CHARS_MAX:
            said = msgspec.structs.replace(said, message=said.message[:MESSAGE_CHARS_MAX])
        self._said[place] = said
        self._unsaid[place] = None
        self._to_say.set()

    def count(self) -> None:
        """There may be requests on pods again: say so, and go on while there are. Cheap, and needed only then."""
        self._counting.set()

    def start(self) -> None:
        self._tasks.spawn(self._follow(), "follow")
        if self._cache is not None:
            self._tasks.spawn(self._keep(self._cache), "keep")

    async def first(self) -> Snapshot:
        """Wait for a snapshot, from the control plane or the disk."""
        await self._first.wait()
        assert self._snapshot is not None
        return self._snapshot

    async def _follow(self) -> None:
        import aiohttp  # lazily: 200 ms that a process with a static snapshot does not pay

        delay_s = _BACKOFF_FIRST_S
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._token.reveal()}"}) as session:
            while True:
                before = self._heard_at
                try:
                    await self._session(session)
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    self._meters.errors.v += 1
                    log.warning("snapshot_source_lost url=%s error=%s", self._url, _why(error))
                finally:
                    self._connected = False
                if self._snapshot is None and self._cache is not None:
                    await self._serve_last_good(self._cache)
                delay_s = _BACKOFF_FIRST_S if self._heard_at != before else delay_s
                await asyncio.sleep(delay_s * self._random.uniform(0.5, 1.0))
                delay_s = min(delay_s * _BACKOFF_FACTOR, _BACKOFF_MAX_S)

    async def _session(self, session: "aiohttp.ClientSession") -> None:
        """One connection, until it ends. Raises ValueError on a change that does not fit or is not one."""
        import aiohttp

        loop = asyncio.get_running_loop()
        present = self._snapshot.generation if self._snapshot is not None else -1
        query = {"from": str(present)} if present >= 0 else {}
        if self._running is not None:
            query["counts"] = "1"
        if self._activator:
            query["activator"] = self._activator
        async with asyncio.timeout_at(loop.time() + _CONNECT_S) as connecting:
            async with session.ws_connect(
                self._url, params=query, heartbeat=_PING_S, max_msg_size=FRAME_BYTES_MAX
            ) as socket:
                connecting.reschedule(None)
                self._connected = True
                log.info("snapshot_source_connected url=%s", self._url)
                self._unsaid = dict.fromkeys(self._said)
                self._to_say.set()
                telling = [self._tasks.spawn(self._tell(socket), "tell")]
                if self._running is not None:
                    telling.append(self._tasks.spawn(self._tell_counts(socket, self._running), "counts"))
                try:
                    async for message in socket:
                        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                            continue
                        self._heard_at = loop.time()
                        generation = self._apply(message.data)
                        await socket.send_str(f'{{"applied":{generation}}}')
                        self._counting.set()
                finally:
                    for task in telling:
                        task.cancel()

    async def _tell(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        while not socket.closed:
            await self._to_say.wait()
            self._to_say.clear()
            while self._unsaid:
                place = next(iter(self._unsaid))
                del self._unsaid[place]
                if (said := self._said.get(place)) is None:
                    continue
                try:
                    await socket.send_str(msgspec.json.encode({"reported": said}).decode())
                except ConnectionError:  # the next connection says it all again
                    return

    async def _tell_counts(
        self, socket: "aiohttp.ClientWebSocketResponse", running: Callable[[], dict[str, int]]
    ) -> None:
        """Once after each change; again and again while there is something to count; nothing while there is not."""
        while not socket.closed:
            await self._counting.wait()
            self._counting.clear()
            if self._snapshot is None:
                continue
            pods = running()
            kept = dict(itertools.islice(pods.items(), RUNNING_MAX))
            said = Running(generation=self._snapshot.generation, pods=kept, cut=len(kept) < len(pods))
            try:
                await socket.send_str(msgspec.json.encode({"running": said}).decode())
            except ConnectionError:
                return
            await asyncio.sleep(COUNT_S)
            if pods:
                self._counting.set()

    def _apply(self, frame: str | bytes) -> int:
        try:
            change = msgspec.json.decode(frame, type=Change)
            snapshot = changed(self._snapshot or Snapshot(generation=-1), change)
        except ValueError as error:  # msgspec's errors are ValueErrors too
            self._forget()
            raise ValueError(f"refused a change: {error}") from None
        if change.base == -1 and self._snapshot is not None:
            snapshot, change = shared(self._snapshot, snapshot)
            change = msgspec.structs.replace(change, compared=True)
        try:
            self._install(snapshot, change)
        except ConfigFault as error:  # the hop kept what it had
            self._forget()
            raise ValueError(f"the hop refused a change: {error}") from None
        return snapshot.generation

    def _forget(self) -> None:
        """Ask for everything next time. What is in force stays in force."""
        if self._snapshot is not None:
            self._snapshot = msgspec.structs.replace(self._snapshot, generation=-1)

    def _install(self, snapshot: Snapshot, change: Change) -> None:
        self._on_change(snapshot, change)
        self._snapshot = snapshot
        if change.brokers or change.triggers:  # what is not wanted any more has nothing to be said about
            wanted = {"broker": snapshot.brokers.keys(), "trigger": snapshot.triggers.keys()}
            self._said = {place: said for place, said in self._said.items() if place[1] in wanted[place[0]]}
        self._meters.generation.v = snapshot.generation
        self._first.set()
        self._unsaved.set()

    async def _serve_last_good(self, cache: LastGood) -> None:
        try:
            kept = await asyncio.to_thread(cache.load)
        except ConfigFault as error:
            self._meters.errors.v += 1
            log.error("last_good_snapshot_refused error=%s", error)
            return
        if kept is None or self._snapshot is not None:
            return
        log.warning("serving_last_good_snapshot generation=%d", kept.snapshot.generation)
        self._saved = kept.snapshot
        self._heard_at = asyncio.get_running_loop().time() - kept.age_s
        try:
            self._install(kept.snapshot, full(kept.snapshot))
        except ConfigFault as error:
            self._meters.errors.v += 1
            log.error("last_good_snapshot_refused error=%s", error)

    async def _keep(self, cache: LastGood) -> None:
        """Write the newest snapshot when it differs; once more when this ends."""
        try:
            while True:
                await self._unsaved.wait()
                self._unsaved.clear()
                present = self._snapshot
                if present is not None and present is not self._saved and present.generation >= 0:
                    await self._save(cache, present)
                    await asyncio.sleep(_SAVE_EVERY_S)
        finally:
            last = self._snapshot
            if last is not None and last is not self._saved and last.generation >= 0:
                with contextlib.suppress(OSError):
                    cache.save(last)

    async def _save(self, cache: LastGood, present: Snapshot) -> None:
        try:
            await asyncio.to_thread(cache.save, present)
            self._saved = present
        except OSError as error:
            self._meters.errors.v += 1
            log.warning("last_good_snapshot_not_saved error=%s", error)

    def _refresh(self) -> None:
        self._meters.reachable.v = int(self._connected)
        if self._connected:
            self._meters.age.v = 0
        elif self._heard_at is not None:
            self._meters.age.v = asyncio.get_running_loop().time() - self._heard_at


def shared(old: Snapshot, new: Snapshot) -> tuple[Snapshot, Change]:
    """`new` with the values of `old` where they are equal, and what differs: a hop recompiles only that."""
    snapshot = Snapshot(
        generation=new.generation,
        routes=_reused(old.routes, new.routes),
        revisions=_reused(old.revisions, new.revisions),
        brokers=_reused(old.brokers, new.brokers),
        triggers=_reused(old.triggers, new.triggers),
        activators=new.activators,
    )
    return snapshot, difference(old, snapshot)


def _reused(old: dict[str, V], new: dict[str, V]) -> dict[str, V]:
    return {
        key: before if (before := old.get(key)) == value and before is not None else value for key, value in new.items()
    }


def _why(error: Exception) -> str:
    """In words of this side of the connection; a wrong token is what people meet first."""
    status = getattr(error, "status", 0)  # of aiohttp.WSServerHandshakeError
    if status in (401, 403):
        return (
            f"HTTP {status}: the control plane does not know this token; --token-file names the file that has its own"
        )
    return f"HTTP {status}: no control plane answers here" if status else str(error) or type(error).__name__
