"""Stats to an autoscaler in another process: a WebSocket that is never in the way.

Path: gateway, activator, queueproxy → [reporting] → autoscaler/collect.py.

`send` only stores: the newest stat of each revision and reporter waits, so an outage costs no memory and no flood of
old numbers follows it. While connected an empty frame goes out every second, so that silence means "no load".

A poke (first request at zero) is repeated every second until the autoscaler has acknowledged it, or the load is gone.

Source: spec/serving.md §8.11; reliability.md AC-08 (a lost autoscaler is never the hop's own failure), AS-02.
"""

import asyncio
import logging
import random
from typing import TYPE_CHECKING

import msgspec

from dataplane.net.tasks import Tasks
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import STATS_PER_FRAME_MAX, Stat, encode

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

PATH = "/stats"
REPORTER_HEADER = "x-dp-reporter"  # who speaks on this link, so that its silence can be understood
WAITING_MAX = 4096  # stats that wait for the link; the oldest is dropped
KEEPALIVE_S = 1.0
REPOKE_S = 1.0
_BACKOFF_FIRST_S, _BACKOFF_FACTOR, _BACKOFF_MAX_S = 0.1, 1.3, 1.0  # the cap keeps AC-08's promise of one second
_CONNECT_S = 3.0
_SEND_S = 3.0
_PING_S = 10.0
_GOODBYE_S = 2.0
_ACK_BYTES_MAX = 64 * 1024
_NAMES_MAX = 16
_PEER = "autoscaler"

_acks = msgspec.msgpack.Decoder(list[str])

_Key = tuple[str, str]  # revision, reporter


class StatsLink:
    """One link per process. `url` is `http://host:port` of the autoscaler. Call everything on the loop.

    `start` begins to connect, for ever; `close` sends what waits and says goodbye.
    """

    def __init__(
        self, *, url: str, token: Redacted, tasks: Tasks, loop: asyncio.AbstractEventLoop, registry: Registry
    ) -> None:
        self._url = f"{url.rstrip('/')}{PATH}"
        self._token = token
        self._tasks = tasks
        self._loop = loop
        self._reachable = registry.gauge(
            "kn_activator_stats_conn_reachable", "1 while the autoscaler can be reported to.", ("peer",)
        ).cell(_PEER)
        self._errors = registry.counter(
            "kn_activator_stats_conn_errors_total", "Connections to the autoscaler that failed or broke.", ("peer",)
        ).cell(_PEER)
        self._dropped = registry.counter(
            "dataplane_stats_dropped_total", "Stats dropped because too many waited for the link.", ("peer",)
        ).cell(_PEER)
        self._random = random.Random()
        self._waiting: dict[_Key, Stat] = {}
        self._pokes: dict[_Key, Stat] = {}  # sent and not yet acknowledged
        self._names: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def connected(self) -> bool:
        return bool(self._reachable.v)

    def start(self) -> None:
        self._running = self._tasks.spawn(self._run(), "stats")

    def send(self, stats: list[Stat]) -> None:
        """Hand over; never blocks, never fails. Works before `start` and while the autoscaler is away."""
        for stat in stats:
            key = (stat.revision, stat.reporter)
            if len(self._names) < _NAMES_MAX:
                self._names[stat.reporter] = None
            if not stat.poke and not stat.concurrency and not stat.requests:
                self._pokes.pop(key, None)
            before = self._waiting.pop(key, None)
            self._waiting[key] = stat if before is None else _newest(before, stat)
            if len(self._waiting) > WAITING_MAX:
                del self._waiting[next(iter(self._waiting))]
                self._dropped.v += 1
        if stats:
            self._wake.set()

    async def close(self) -> None:
        """Send what waits, say goodbye, and end; within 2 s."""
        self._closing = True
        self._wake.set()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=_GOODBYE_S)
            self._running.cancel()

    async def _run(self) -> None:
        import aiohttp  # lazily: 14 MB and 100 ms that a process without an autoscaler link does not pay

        delay_s = _BACKOFF_FIRST_S
        secret = self._token.reveal()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"} if secret else {}) as session:
            while not self._closing:
                began = self._loop.time()
                try:
                    await self._connection(session)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self._errors.v += 1
                    if self.connected or delay_s == _BACKOFF_FIRST_S:
                        log.warning("autoscaler_lost url=%s error=%s", self._url, error or type(error).__name__)
                finally:
                    was_connected, self._reachable.v = self.connected, 0
                if self._closing:
                    return
                if was_connected and self._loop.time() - began > _BACKOFF_MAX_S:
                    delay_s = _BACKOFF_FIRST_S
                await asyncio.sleep(delay_s * self._random.uniform(0.5, 1.0))
                delay_s = min(delay_s * _BACKOFF_FACTOR, _BACKOFF_MAX_S)

    async def _connection(self, session: "aiohttp.ClientSession") -> None:
        """One connection until it ends. Raises when it fails; returns after a goodbye of either side."""
        async with asyncio.timeout_at(self._loop.time() + _CONNECT_S):
            socket = await session.ws_connect(
                self._url,
                heartbeat=_PING_S,
                max_msg_size=_ACK_BYTES_MAX,
                headers={REPORTER_HEADER: ",".join(self._names)},
            )
        self._reachable.v = 1
        log.info("autoscaler_connected url=%s", self._url)
        reader = self._tasks.spawn(self._read(socket), "acks")
        try:
            await self._write(socket)
            if not self._closing:
                raise ConnectionResetError(f"the autoscaler closed the link, code {socket.close_code}")
        finally:
            reader.cancel()
            await asyncio.wait({reader})
            async with asyncio.timeout_at(self._loop.time() + _SEND_S):
                await socket.close()

    async def _write(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        now = self._loop.time()
        repoke_at, keepalive_at = now, now  # what was not acknowledged on the last link goes first
        while not socket.closed:
            now = self._loop.time()
            if now >= repoke_at:
                for key, poke in self._pokes.items():
                    self._waiting.setdefault(key, poke)
                repoke_at = now + REPOKE_S
            if self._waiting or now >= keepalive_at:
                await self._flush(socket)
                keepalive_at = self._loop.time() + KEEPALIVE_S
            if self._closing and not self._waiting:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout_at(min(keepalive_at, repoke_at) if self._pokes else keepalive_at):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _flush(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        """One frame of what waits, or an empty one. What could not be sent waits on."""
        batch = dict(list(self._waiting.items())[:STATS_PER_FRAME_MAX])
        async with asyncio.timeout_at(self._loop.time() + _SEND_S):
            await socket.send_bytes(encode(list(batch.values())))
        for key, stat in batch.items():
            if self._waiting.get(key) is stat:
                del self._waiting[key]
            if stat.poke:
                self._pokes[key] = stat
                if len(self._pokes) > WAITING_MAX:
                    del self._pokes[next(iter(self._pokes))]
        if self._waiting:
            self._wake.set()

    async def _read(self, socket: "aiohttp.ClientWebSocketResponse") -> None:
        """Acknowledgements: the revisions whose poke was understood. Ends with the connection."""
        async for message in socket:
            if not isinstance(message.data, bytes):
                continue
            try:
                known = set(_acks.decode(message.data))
            except msgspec.MsgspecError:
                log.warning("autoscaler_ack_malformed bytes=%d", len(message.data))
                continue
            self._pokes = {key: poke for key, poke in self._pokes.items() if key[0] not in known}
        self._wake.set()


def _newest(before: Stat, stat: Stat) -> Stat:
    """One stat for two that wait. A poke stays a poke unless the load is gone."""
    if not before.poke or stat.poke or (not stat.concurrency and not stat.requests):
        return stat
    return msgspec.structs.replace(
        stat,
        concurrency=max(before.concurrency, stat.concurrency),
        requests=max(before.requests, stat.requests),
        poke=True,
    )
