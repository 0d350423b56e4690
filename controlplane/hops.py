"""What hops in other processes ask of the control plane: snapshots, scale writes, explanations.

Path: publish.py, the desks → [hops] → dataplane/runtime/watch.py, autoscaler/actuate.py, `dataplane explain`.

    GET  /dataplane/v1/snapshot?from=GEN   WebSocket: Change frames out; {"applied": GEN}, {"reported": Reported}
                                           and {"running": Running} in. counts=1: it sends the last;
                                           activator=NAME: it is one
    POST /dataplane/v1/scale/lease         {"token": n}
    POST /dataplane/v1/scale               ScaleWrite → 200, or 409 when the lease is not the newest (AS-06)
    GET  /dataplane/v1/explain/ksvc/NS/NAME[?format=text]

The routes are added to the API's application, behind its guard, which answers what is raised here.

Source: architecture.md "The four contracts" 1; reliability.md AS-06, CP-05.
"""

import asyncio
import itertools
import logging

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from controlplane import explain
from controlplane.activators import NAME_CHARS_MAX, Activators
from controlplane.api import status
from controlplane.brokerdesk import BrokerDesk
from controlplane.occupancy import Hop, Occupancy
from controlplane.publish import Follower, Publisher
from controlplane.reconcile.view import View
from controlplane.scaledesk import ScaleDesk, StaleToken
from dataplane.net.tasks import Tasks
from dataplane.resources.kinds import BY_STRUCT
from dataplane.resources.scaling import ScaleWrite
from dataplane.resources.serving import Service
from dataplane.resources.snapshot import Running
from dataplane.resources.triggers import Reported

log = logging.getLogger(__name__)

PREFIX = "/dataplane/v1"
FOLLOWERS_MAX = 256
ANSWER_BYTES_MAX = 128 * 1024  # watch.RUNNING_MAX pods
GENERATION_CHARS_MAX = 18
SCALE_BYTES_MAX = 1024 * 1024
HEARTBEAT_S = 10.0
_GOODBYE_CODES = (WSCloseCode.OK, WSCloseCode.GOING_AWAY)


class _Answer(msgspec.Struct, frozen=True):
    applied: int | None = None
    reported: Reported | None = None
    running: Running | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_SCALE = msgspec.json.Decoder(ScaleWrite)
_ENCODER = msgspec.json.Encoder()


class HopsApi:
    """`routes` for the application; `close` before its shutdown, so that followers leave at once."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        desk: ScaleDesk,
        brokers: BrokerDesk,
        occupancy: Occupancy,
        activators: Activators,
        view: View,
        account: explain.Account,
    ) -> None:
        """`account`: the in-process autoscaler's explanation of a revision, or a function that returns None."""
        self._publisher = publisher
        self._desk = desk
        self._brokers = brokers
        self._occupancy = occupancy
        self._activators = activators
        self._joined = itertools.count(1)
        self._view = view
        self._account = account
        self._tasks = Tasks("hops")
        self._sockets: set[web.WebSocketResponse] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{PREFIX}/snapshot", self._snapshot),
            web.post(f"{PREFIX}/scale/lease", self._lease),
            web.post(f"{PREFIX}/scale", self._scale),
            web.get(f"{PREFIX}/explain/ksvc/{{namespace}}/{{name}}", self._explain),
        ]

    async def close(self) -> None:
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.SERVICE_RESTART)
        await self._tasks.close()

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        present = _generation(request.query.get("from", "-1"))
        if len(self._sockets) >= FOLLOWERS_MAX:
            raise status.ApiError(503, "ServiceUnavailable", f"{FOLLOWERS_MAX} followers are connected already")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=ANSWER_BYTES_MAX, compress=False)
        await socket.prepare(request)
        wake = asyncio.Event()
        follower = self._publisher.join(wake.set, generation=present)
        wake.set()
        self._sockets.add(socket)
        sending = self._tasks.spawn(self._send(socket, follower, wake), "follower")
        process = f"follower {next(self._joined)}"
        hop = self._occupancy.join() if request.query.get("counts") else None
        activator = request.query.get("activator", "")[:NAME_CHARS_MAX]
        if activator:
            self._activators.join(activator)
        try:
            await self._listen(socket, follower, process, hop)
        finally:
            if activator:
                self._activators.leave(activator, goodbye=socket.close_code in _GOODBYE_CODES)
            if hop is not None:
                self._occupancy.leave(hop)
            self._sockets.discard(socket)
            self._publisher.leave(follower)
            self._brokers.forget(process)
            sending.cancel()
        return socket

    async def _send(self, socket: web.WebSocketResponse, follower: Follower, wake: asyncio.Event) -> None:
        while not socket.closed:
            await wake.wait()
            wake.clear()
            change = follower.take()
            if change is None:
                continue
            try:
                await socket.send_str(_ENCODER.encode(change).decode())
            except ConnectionError:
                return

    async def _listen(self, socket: web.WebSocketResponse, follower: Follower, process: str, hop: Hop | None) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                answer = _ANSWER.decode(message.data)
            except msgspec.MsgspecError as error:
                log.warning("follower_answer_malformed reason=%s", error)
                await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
                return
            if answer.applied is not None:
                self._publisher.applied(follower, answer.applied)
            if answer.reported is not None:
                self._brokers.report(answer.reported, process)
            if answer.running is not None and hop is not None:
                self._occupancy.said(hop, answer.running)

    async def _lease(self, request: web.Request) -> web.Response:
        return web.json_response({"token": self._desk.lease()})

    async def _scale(self, request: web.Request) -> web.Response:
        body = b""
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > SCALE_BYTES_MAX:
                raise status.ApiError(413, "RequestEntityTooLarge", f"at most {SCALE_BYTES_MAX} bytes of decisions")
        try:
            self._desk.accept(_SCALE.decode(body))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise status.ApiError(400, "BadRequest", f"not a scale write: {error}") from None
        except StaleToken as stale:
            raise status.ApiError(409, "Conflict", str(stale)) from None
        return web.json_response({})

    async def _explain(self, request: web.Request) -> web.Response:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        why = explain.explained(namespace, name, self._view, self._account)
        if why is None:
            raise status.not_found(BY_STRUCT[Service], name)
        if request.query.get("format") == "text":
            return web.Response(text=explain.text(why))
        return web.Response(body=_ENCODER.encode(why), content_type="application/json")


def _generation(text: str) -> int:
    if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) <= GENERATION_CHARS_MAX:
        return int(text)
    raise status.ApiError(400, "BadRequest", "from: a generation number was expected")
