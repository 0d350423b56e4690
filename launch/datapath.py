"""The gateway with its activator in one loop: the request path of `up` and of `dataplane gateway`.

Path: a snapshot, from whoever follows one → [datapath] → activator, then gateway.

Source: architecture.md "Decisions already taken" (gateway and activator share a process by default).
"""

import asyncio
from collections.abc import Callable

from activator.admission import Activator
from activator.hold import HoldSettings
from activator.report import Reporter
from activator.settings import ActivatorSettings
from dataplane.net.engine import Engine
from dataplane.net.pool import PoolSettings
from dataplane.policy.admission import Admission
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.runtime.config import Loaded
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import Stat
from gateway.accept import Gateway
from gateway.remote import RemoteAdmission
from gateway.settings import GatewaySettings

Send = Callable[[list[Stat]], None]


class Holding:
    """An engine, the activator on it and its reports: what the gateway and the separate activator both need."""

    def __init__(self, *, settings: Loaded, registry: Registry, send: Send, reporter: str) -> None:
        gateway = settings.section("gateway", GatewaySettings)
        wanted = settings.section("activator", ActivatorSettings)
        pool = PoolSettings(
            connect_timeout_s=gateway.upstream_connect_timeout_s, idle_s=gateway.upstream_idle_timeout_s
        )
        self.engine = Engine(loop=asyncio.get_running_loop(), registry=registry, pool=pool)
        self._reporter = Reporter(reporter=reporter, send=send, timers=self.engine.timers, clock=self.engine.clock)
        self.activator = Activator(
            engine=self.engine,
            settings=HoldSettings(depth_max=wanted.queue_depth_max, bytes_max=wanted.queue_bytes_max),
            demand=self._reporter.demand,
        )


class Datapath:
    """`apply` is what a publisher or follower calls. `activators`: separate ones, for what we may not count here."""

    def __init__(self, *, holding: Holding, settings: Loaded, activators: tuple[tuple[str, int], ...] = ()) -> None:
        self.holding = holding
        engine = holding.engine
        self._remote = (
            RemoteAdmission(local=holding.activator, activators=activators, clock=engine.clock) if activators else None
        )
        admission: Admission = self._remote if self._remote is not None else holding.activator
        self.gateway = Gateway(
            engine=engine, admission=admission, settings=settings.section("gateway", GatewaySettings)
        )

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        self.holding.activator.apply(snapshot, change)
        if self._remote is not None:
            self._remote.apply(snapshot, change)
        self.gateway.apply(snapshot, change)
