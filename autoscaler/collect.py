"""Stats of reporters in other processes: a WebSocket server in front of `Autoscaler`.

Path: dataplane/runtime/reporting.py → [collect] → decide.

Trusts nobody: frames are bounded in size, number and rate, numbers are checked, a malformed frame is ignored and
counted under the reporter's name, and the link lives on. Pokes of revisions that we know are acknowledged; the others
will be repeated, and by then the snapshot may have arrived.

Source: spec/serving.md §8.11 (close code 1012), §9.9; reliability.md AS-04.
"""

import asyncio
import hmac
import itertools
import logging

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from autoscaler.decide import Autoscaler
from dataplane.runtime.reporting import PATH, REPORTER_HEADER
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import FRAME_BYTES_MAX, STATS_PER_FRAME_MAX, Stat, decode

log = logging.getLogger(__name__)

LINKS_MAX = 1024
FRAMES_PER_S_MAX = 100  # of one link; a reporter needs two
_PING_S = 10.0
_ACK_S = 3.0
_GOODBYE_CODES = (WSCloseCode.OK, WSCloseCode.GOING_AWAY)
_NAME_CHARS_MAX = 253

_encoder = msgspec.msgpack.Encoder()


class Collector:
    """`routes` belongs into an aiohttp application. token: what reporters must present; empty = nothing."""

    def __init__(
        self, *, autoscaler: Autoscaler, token: Redacted, loop: asyncio.AbstractEventLoop, registry: Registry
    ) -> None:
        self._autoscaler = autoscaler
        self._token = token
        self._loop = loop
        self._links: dict[int, web.WebSocketResponse] = {}
        self._numbers = itertools.count(1)
        self._open = registry.gauge("dataplane_autoscaler_links", "Reporters connected from other processes.").cell()
        self._complained: set[str] = set()
        self._closing = False

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A reporter, for as long as it stays."""
        if not allowed(request, self._token):
            return web.Response(status=401, text="a bearer token is required\n")
        if self._closing or len(self._links) >= LINKS_MAX:
            return web.Response(status=503, text="too many links\n", headers={"Retry-After": "1"})
        socket = web.WebSocketResponse(heartbeat=_PING_S, max_msg_size=FRAME_BYTES_MAX, compress=False)
        await socket.prepare(request)
        link = next(self._numbers)
        names = _names(request.headers.get(REPORTER_HEADER, ""))
        self._links[link] = socket
        self._open.v = len(self._links)
        self._autoscaler.opened(link, names)
        log.info("reporter_connected link=%d names=%s", link, ",".join(names))
        try:
            await self._serve(link, socket, names[0] if names else f"link-{link}")
        finally:
            del self._links[link]
            self._open.v = len(self._links)
            goodbye = not self._closing and socket.close_code in _GOODBYE_CODES
            self._autoscaler.closed(link, goodbye=goodbye)
            log.info("reporter_left link=%d code=%s", link, socket.close_code)
        return socket

    async def close(self) -> None:
        """Turn everybody away: 1012, the service restarts."""
        self._closing = True
        for socket in list(self._links.values()):
            await socket.close(code=WSCloseCode.SERVICE_RESTART, message=b"autoscaler stops")

    async def _serve(self, link: int, socket: web.WebSocketResponse, name: str) -> None:
        second, frames = 0, 0
        async for message in socket:
            if int(self._loop.time()) != second:
                second, frames = int(self._loop.time()), 0
            frames += 1
            if frames > FRAMES_PER_S_MAX:
                self._autoscaler.rejected(name, "rate")
                await asyncio.sleep(0)  # a flood that is already in the buffer must not keep the loop
            elif message.type is WSMsgType.BINARY:
                stats = self._decoded(message.data, name)
                if stats is not None and self._autoscaler.frame(link, stats):
                    name = stats[0].reporter if stats else name
                    await self._acknowledge(socket, stats)
            elif message.type is WSMsgType.TEXT:
                self._autoscaler.rejected(name, "text")
        if isinstance(socket.exception(), Exception):  # aiohttp has closed it with 1009 or 1002
            self._autoscaler.rejected(name, "frame")
            log.warning("reporter_broke link=%d name=%s error=%s", link, name, socket.exception())

    def _decoded(self, frame: bytes, name: str) -> list[Stat] | None:
        try:
            stats = decode(frame)
            if len(stats) > STATS_PER_FRAME_MAX:
                raise ValueError(f"{len(stats)} stats in one frame, at most {STATS_PER_FRAME_MAX}")
        except ValueError as error:
            self._autoscaler.rejected(name, "frame")
            log.log(self._level(name), "stats_refused name=%s error=%.200s", name, error)
            return None
        return stats

    def _level(self, name: str) -> int:
        """A warning for the first bad frame of a reporter; its counter tells the rest."""
        if name in self._complained or len(self._complained) >= LINKS_MAX:
            return logging.DEBUG
        self._complained.add(name)
        return logging.WARNING

    async def _acknowledge(self, socket: web.WebSocketResponse, stats: list[Stat]) -> None:
        known = {stat.revision for stat in stats if stat.poke and self._autoscaler.knows(stat.revision)}
        if known:
            try:
                async with asyncio.timeout_at(self._loop.time() + _ACK_S):
                    await socket.send_bytes(_encoder.encode(list(known)))
            except (ConnectionError, TimeoutError):
                pass  # it will poke again, on this link or the next


def allowed(request: web.Request, token: Redacted) -> bool:
    """The request carries `token`, or none is asked for."""
    if not token:
        return True
    given = request.headers.get("Authorization", "")
    return hmac.compare_digest(given.encode(), f"Bearer {token.reveal()}".encode())


def _names(header: str) -> tuple[str, ...]:
    names = (part.strip() for part in header.split(","))
    return tuple(name for name in names if name and len(name) <= _NAME_CHARS_MAX)[:16]
