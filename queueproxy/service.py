"""The queue-proxy as a process: settings → listeners → served until SIGTERM → drained.

Path: launch (`dataplane queueproxy`) → [service] → accept.py, report.py, drain.py.

It stands beside every pod, so what it imports is bounded: tests/unit/test_import_budget.py.

Source: spec/serving.md §9.1, §9.10, §9.14; design/ecosystem.md §3.3.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from dataplane.clock import SYSTEM, Clock
from dataplane.net.engine import Engine
from dataplane.net.listener import Listener, ListenerSettings
from dataplane.net.pool import PoolSettings
from dataplane.net.server import ServerConnection
from dataplane.runtime.reporting import StatsLink
from dataplane.telemetry.metrics import Registry
from dataplane.wire.headers import from_hop
from queueproxy.accept import QueueProxy
from queueproxy.drain import Hook
from queueproxy.report import Scraped
from queueproxy.settings import QueueProxySettings, read_settings

log = logging.getLogger(__name__)

IDLE_MAX = 1000  # connections to an app without a limit of its own
GOODBYE_S = 1.0  # for last bytes to go out: of responses, and of the hook's answer
SIDE_CONNECTIONS_MAX = 64


class Sidecar:
    """One queue-proxy. `start` once, `stop` once; `stop` drains and takes as long as the drain does."""

    def __init__(
        self, *, settings: QueueProxySettings, loop: asyncio.AbstractEventLoop, registry: Registry, clock: Clock
    ) -> None:
        self._settings = settings
        pool = PoolSettings(idle_max=settings.concurrency or IDLE_MAX)
        self._engine = engine = Engine(loop=loop, registry=registry, pool=pool)
        self._link: StatsLink | None = None
        if settings.autoscaler_url:
            self._link = StatsLink(
                url=settings.autoscaler_url,
                token=settings.autoscaler_token,
                tasks=engine.tasks,
                loop=loop,
                registry=registry,
            )
        send = self._link.send if self._link is not None else (lambda stats: None)
        self.proxy = QueueProxy(engine=engine, settings=settings, clock=clock, send=send)
        self._sides: dict[str, tuple[Listener, int]] = {}
        if settings.metrics_port is not None:
            scraped = Scraped(self.proxy.traffic, registry)
            self._sides["metrics"] = self._side("metrics", scraped.handle), settings.metrics_port
        if settings.admin_port is not None:
            hook = Hook(self.proxy.drain, clock=engine.clock, tasks=engine.tasks)
            self._sides["admin"] = self._side("admin", hook.handle), settings.admin_port
        self.address = ("", 0)  # where requests are taken
        self.side_addresses: dict[str, tuple[str, int]] = {}  # "metrics", "admin"

    async def start(self) -> None:
        """Listen. Raises OSError when a port is taken; what had started is closed again by `close`."""
        settings = self._settings
        for name, (side, port) in self._sides.items():
            self.side_addresses[name] = await side.start(settings.host, port)
        self.address = await self.proxy.listener.start(settings.host, settings.port)
        self.proxy.listens_at(self.address)
        if self._link is not None:
            self._link.start()
        log.info(
            "queueproxy_listening host=%s port=%d user_port=%d concurrency=%d",
            *self.address,
            settings.user_port,
            settings.concurrency,
        )

    async def stop(self) -> None:
        """SIGTERM came: probes fail, requests are served until none comes, then what runs ends, then we do."""
        drain, listener = self.proxy.drain, self.proxy.listener
        drain.end()
        await drain.quiet()
        listener.stop_accepting()
        await drain.empty()
        now = self._engine.clock()
        cut = await listener.drain(deadline=now)
        await listener.drain(deadline=now + GOODBYE_S)  # what a slow client has not read yet
        log.info("drained cut=%d", cut)
        drain.over()
        await self.close()

    async def close(self) -> None:
        """At once, apart from answers that are on their way."""
        self.proxy.traffic.close()
        self.proxy.listener.stop_accepting()
        deadline = self._engine.clock() + GOODBYE_S
        await asyncio.gather(*(side.drain(deadline=deadline) for side, _ in self._sides.values()))
        if self._link is not None:
            await self._link.close()
        await self._engine.close()

    def _side(self, name: str, handler: Callable[[ServerConnection], None]) -> Listener:
        fields = from_hop()
        return Listener(
            name=name,
            engine=self._engine,
            handler=handler,
            trusted=lambda peer: fields,
            settings=ListenerSettings(connections_max=SIDE_CONNECTIONS_MAX),
        )


async def run(environ: Mapping[str, str], stop: asyncio.Event, *, clock: Clock = SYSTEM) -> int:
    """Serve until `stop` is set, drain, return the exit code.

    Raises ConfigFault when the environment is wrong (every mistake in its message), OSError when a port is taken.
    """
    sidecar = Sidecar(
        settings=read_settings(environ), loop=asyncio.get_running_loop(), registry=Registry(), clock=clock
    )
    try:
        await sidecar.start()
    except BaseException:
        await sidecar.close()
        raise
    await stop.wait()
    await sidecar.stop()
    return 0
