"""Going away without losing a request: fail the probes, serve on, wait for quiet, then for what still runs.

Path: accept.py counts here; service.py and the admin port (GET /wait-for-drain, the app's preStop hook) wait here.

    SERVING ──begin()──▶ DRAINING: probes 503, requests served; until nothing came for quiet_s
            ◀─reset()──                                       then until nothing runs; WebSockets at most tunnels_s

The hook comes with SIGTERM when a pod ends, and without it when the app's liveness probe restarts the app alone: then
the drain is undone after a second, and the app may go. Unlike Knative the hook also waits for what still runs, because
the app is stopped the moment it returns.

Source: spec/serving.md §9.10, §12.3.
"""

import asyncio
import logging
from collections.abc import Callable

from dataplane.net.server import ServerConnection
from dataplane.net.tasks import Tasks
from dataplane.net.timers import NEVER
from queueproxy.waiting import Waiting

log = logging.getLogger(__name__)

SIGTERM_WITHIN_S = 1.0
HOOK_PATH = b"/wait-for-drain"


class Drain:
    """Of one pod. `draining`: probes are refused, and connections are closed after their response."""

    __slots__ = (
        "_changed", "_clock", "_ended", "_last", "_quiet_s", "_tunnels_s",
        "draining", "ending", "in_flight", "tunnels",
    )  # fmt: skip

    def __init__(self, *, clock: Callable[[], float], quiet_s: float, tunnels_s: float) -> None:
        self._clock = clock
        self._quiet_s = quiet_s
        self._tunnels_s = tunnels_s
        self._last = clock()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self.draining = False
        self.ending = False  # SIGTERM came: there is no way back
        self.in_flight = 0  # tunnels included
        self.tunnels = 0

    # ---- requests → us --------------------------------------------------------------------------

    def arrived(self, now: float) -> None:
        """A request that is no probe."""
        self._last = now
        self.in_flight += 1

    def departed(self) -> None:
        self.in_flight -= 1
        if self.in_flight <= self.tunnels:
            self._changed.set()

    # ---- SIGTERM and the hook → us ----------------------------------------------------------------

    def begin(self) -> None:
        """The quiet time starts now. Again: changes nothing."""
        if not self.draining:
            self.draining = True
            self._last = self._clock()
            log.info("drain_began in_flight=%d", self.in_flight)

    def reset(self) -> None:
        """It was the app alone that restarts: serve on."""
        if not self.ending:
            self.draining = False
            log.info("drain_undone")

    def end(self) -> None:
        """SIGTERM."""
        self.ending = True
        self.begin()
        self._changed.set()

    async def quiet(self) -> None:
        """Until no request has come for quiet_s."""
        while (left_s := self._last + self._quiet_s - self._clock()) > 0:  # noqa: ASYNC110 (no polling: the exact time)
            await asyncio.sleep(left_s)

    async def empty(self) -> None:
        """Until nothing runs; what is left after tunnels_s beyond the last ordinary request are WebSockets."""
        await self._until(lambda: self.in_flight <= self.tunnels, NEVER)
        await self._until(lambda: not self.in_flight, self._clock() + self._tunnels_s)

    def over(self) -> None:
        """Nothing will be served any more: whoever waits may go."""
        self._ended.set()

    async def ended(self) -> None:
        await self._ended.wait()

    async def sigterm(self, deadline: float) -> bool:
        """Did SIGTERM come by then?"""
        await self._until(lambda: self.ending, deadline)
        return self.ending

    async def _until(self, holds: Callable[[], bool], deadline: float) -> None:
        try:
            async with asyncio.timeout_at(None if deadline == NEVER else deadline):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass


class Hook:
    """The handler of the admin port."""

    def __init__(self, drain: Drain, *, clock: Callable[[], float], tasks: Tasks) -> None:
        self._drain = drain
        self._clock = clock
        self._tasks = tasks

    def handle(self, connection: ServerConnection) -> None:
        if connection.request.target.partition(b"?")[0] != HOOK_PATH:
            connection.respond(404, [], b"")
            return
        self._tasks.spawn(self._answer(Waiting(connection)), "wait-for-drain")

    async def _answer(self, waiting: Waiting) -> None:
        drain = self._drain
        drain.begin()
        if await drain.sigterm(self._clock() + SIGTERM_WITHIN_S):
            await drain.ended()
        else:
            drain.reset()
        waiting.answer(200, [], b"")
