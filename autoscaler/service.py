"""An autoscaler in a process of its own: follow the control plane, collect stats, decide, tell the control plane.

Path: launch/hops.py → [service: dataplane/runtime/watch.py → decide ← collect; decide → actuate].

When this process is away, hops serve at the present scale and hold what they hold; when it comes back, it takes a new
lease, nothing is scaled down for one stable window, and pokes are repeated to it within a second.

Source: reliability.md AS-05, AS-06, AS-07, AC-08.
"""

import asyncio
import logging

import msgspec
from aiohttp import web

from autoscaler.actuate import RemoteScale
from autoscaler.collect import Collector, allowed
from autoscaler.decide import Autoscaler
from autoscaler.settings import Settings
from dataplane.clock import Clock
from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.runtime.watch import Follower
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

_STOP_S = 2.0


class Service:
    """`start` binds and connects, `close` ends all of it. token: of the control plane, and what reporters present."""

    def __init__(
        self,
        *,
        settings: Settings,
        token: Redacted,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self._settings = settings
        self._token = token
        self._tasks = Tasks("autoscaler")
        self._remote = RemoteScale(
            base_url=settings.control, token=token, tasks=self._tasks, loop=loop, registry=registry
        )
        self.autoscaler = Autoscaler(loop=loop, clock=clock, registry=registry, actuate=self._remote.put, local=False)
        self._collector = Collector(autoscaler=self.autoscaler, token=token, loop=loop, registry=registry)
        self._follower = Follower(
            url=settings.control, token=token, on_change=self._apply, tasks=self._tasks, registry=registry
        )
        self._runner: web.AppRunner | None = None
        self.address: tuple[str, int] = ("", 0)

    async def start(self) -> None:
        """Raises OSError when the port is taken, ConfigFault when `listen` is not host:port."""
        host, _, port = self._settings.listen.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigFault(f"autoscaler.listen: {self._settings.listen!r} is not host:port")
        app = web.Application()
        app.add_routes([*self._collector.routes(), web.get("/explain/{namespace}/{name}", self._explain)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        bound = self._runner.addresses[0]
        self.address = (bound[0], bound[1])
        self._remote.start()
        self._follower.start()
        log.info("autoscaler_listening address=%s:%d", *self.address)

    def not_ready(self) -> str:
        """For /readyz: what is missing, or ""."""
        return self._follower.not_ready()

    async def close(self) -> None:
        self.autoscaler.close()
        await self._collector.close()
        await self._tasks.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _apply(self, snapshot: Snapshot, change: Change) -> None:
        if change.base == -1 or None in change.revisions.values():
            self._remote.keep(snapshot.revisions)
        self.autoscaler.apply(snapshot, change)

    async def _explain(self, request: web.Request) -> web.Response:
        if not allowed(request, self._token):
            return web.Response(status=401, text="a bearer token is required\n")
        found = self.autoscaler.explain("{namespace}/{name}".format_map(request.match_info))
        if found is None:
            return web.Response(status=404, text="not a revision that is scaled here\n")
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")
