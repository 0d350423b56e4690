"""Each hop as a process of its own: settings → objects → served until a signal.

Path: launch/commands/{gateway,activator,autoscaler,queueproxy}.py → [hops] → the hop, fed by runtime/watch.py.

The snapshot comes over HTTP from a control plane (--control) or from a watched file (--snapshot); the hop does not know
which. Stats go to an autoscaler over a WebSocket (--autoscaler), or nowhere.

Source: architecture.md "The four contracts" 1, 2.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import Snapshot
from dataplane.resources.triggers import Reported
from dataplane.runtime.admin import Admin, Check, split_address
from dataplane.runtime.lastgood import LastGood
from dataplane.runtime.reporting import StatsLink
from dataplane.runtime.snapshotfile import FileWatcher
from dataplane.runtime.watch import Follower, OnChange
from dataplane.telemetry.logs import Redacted
from dataplane.wire.stats import Stat
from launch.addresses import must_be_free
from launch.instance import Lock
from launch.startup import Ground

FIRST_SNAPSHOT_S = 30.0


class Source(NamedTuple):
    """Where a hop's snapshot and its peers are. Exactly one of `control` and `snapshot` is set."""

    control: str = ""
    snapshot: str = ""
    cache: str = ""
    autoscaler: str = ""
    token: Redacted = Redacted("")


class GatewayOptions(NamedTuple):
    """lifeline: a pipe whose end tells that the parent is gone; -1 = none."""

    http: str
    local: str
    admin: str
    source: Source
    activators: tuple[str, ...] = ()
    reuse_port: bool = False
    lifeline: int = -1


class Feed:
    """Follows the source and keeps what a hop shows of it: the present snapshot and readiness."""

    def __init__(self, ground: Ground, source: Source, tasks: Tasks) -> None:
        if bool(source.control) == bool(source.snapshot):
            raise ConfigFault("say where the snapshot comes from: --control URL or --snapshot FILE")
        self._ground, self._source, self._tasks = ground, source, tasks
        self._from: Follower | FileWatcher | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        return self._from.snapshot if self._from is not None else None

    def not_ready(self) -> str:
        return self._from.not_ready() if self._from is not None else "not started"

    def say(self, said: Reported) -> None:
        """What a broker process reports, to the control plane if there is one."""
        if isinstance(self._from, Follower):
            self._from.say(said)

    def count(self) -> None:
        """Requests may be on pods: whoever scales in has to know."""
        if isinstance(self._from, Follower):
            self._from.count()

    async def start(
        self, on_change: OnChange, *, running: Callable[[], dict[str, int]] | None = None, activator: str = ""
    ) -> None:
        """Returns when there is a snapshot, or after 30 s without one: a hop that answers 404 is better than none.

        `running`: requests on pods through this process, by Endpoint.id. `activator`: its name, if it is one.
        """
        registry = self._ground.registry
        if self._source.snapshot:
            watcher = FileWatcher(
                path=Path(self._source.snapshot), on_change=on_change, tasks=self._tasks, registry=registry
            )
            self._from = watcher
            await watcher.start()
            self._ground.life.on_reload(watcher.reload)
            return
        cache = LastGood(Path(self._source.cache), clock=self._ground.clock) if self._source.cache else None
        follower = Follower(
            url=self._source.control,
            token=self._source.token,
            on_change=on_change,
            tasks=self._tasks,
            registry=registry,
            cache=cache,
            running=running,
            activator=activator,
        )
        self._from = follower
        follower.start()
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + FIRST_SNAPSHOT_S):
                await follower.first()
        except TimeoutError:
            pass


class Link:
    """Stats to the autoscaler; without one they are dropped here, and pods are scaled by somebody else."""

    def __init__(self, ground: Ground, source: Source, tasks: Tasks) -> None:
        self._link = (
            StatsLink(
                url=source.autoscaler,
                token=source.token,
                tasks=tasks,
                loop=asyncio.get_running_loop(),
                registry=ground.registry,
            )
            if source.autoscaler
            else None
        )

    def send(self, stats: list[Stat]) -> None:
        if self._link is not None:
            self._link.send(stats)

    def start(self) -> None:
        if self._link is not None:
            self._link.start()

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()


def reporter_name(role: str) -> str:
    """Who speaks in stats: unique among the processes of all machines."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}"


def peers(addresses: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """`http://host:port` or `host:port` → (host, port). Raises ConfigFault."""
    out = []
    for one in addresses:
        parts = urlsplit(one if "//" in one else f"//{one}")
        try:
            port = parts.port
        except ValueError:
            port = None
        if not parts.hostname or not port:
            raise ConfigFault(f"{one!r}: expected http://HOST:PORT")
        out.append((parts.hostname, port))
    return tuple(out)


async def gateway(ground: Ground, options: GatewayOptions) -> None:
    """Hop 1 alone, with an activator of its own unless separate ones are named."""
    from launch.datapath import Datapath, Holding

    life = ground.life
    must_be_free(
        {"--http": "" if options.reuse_port else options.http, "--local": options.local, "--admin": options.admin}
    )
    if options.lifeline >= 0:
        hold_on(ground, options.lifeline)
    tasks = Tasks("gateway")
    life.on_stop("tasks", tasks.close)
    link = Link(ground, options.source, tasks)
    feed = Feed(ground, options.source, tasks)

    def send(stats: list[Stat]) -> None:
        link.send(stats)
        feed.count()

    holding = Holding(settings=ground.settings, registry=ground.registry, send=send, reporter=reporter_name("gateway"))
    life.on_stop("engine", holding.engine.close)
    life.on_stop("stats", link.close)
    path = Datapath(holding=holding, settings=ground.settings, activators=peers(options.activators))
    await feed.start(path.apply, running=holding.activator.running)
    link.start()
    checks: dict[str, Check] = {"snapshot": feed.not_ready, "draining": lambda: "draining" if life.ending else ""}
    await _admin(ground, options.admin, checks, feed)
    if options.local:
        await path.gateway.listen_local(*split_address(options.local))
    host, port = split_address(options.http)
    address = await path.gateway.listen(host, port, reuse_port=options.reuse_port)
    life.on_stop("gateway", path.gateway.drain, within_s=120.0)
    say_ready(http=address)


class ActivatorOptions(NamedTuple):
    http: str
    admin: str
    source: Source


async def activator(ground: Ground, options: ActivatorOptions) -> None:
    """Hop 2 alone: gateways send it what they may not count, or cannot serve now."""
    from activator.accept import ActivatorServer
    from activator.settings import ActivatorSettings
    from activator.subset import Subset
    from dataplane.resources.snapshot import Change
    from launch.datapath import Holding

    life = ground.life
    must_be_free({"--http": options.http, "--admin": options.admin})
    tasks = Tasks("activator")
    life.on_stop("tasks", tasks.close)
    link = Link(ground, options.source, tasks)
    feed = Feed(ground, options.source, tasks)

    def send(stats: list[Stat]) -> None:
        link.send(stats)
        feed.count()

    holding = Holding(
        settings=ground.settings, registry=ground.registry, send=send, reporter=reporter_name("activator")
    )
    life.on_stop("engine", holding.engine.close)
    life.on_stop("stats", link.close)
    server = ActivatorServer(
        engine=holding.engine,
        activator=holding.activator,
        settings=ground.settings.section("activator", ActivatorSettings),
    )

    name = reporter_name("activator")
    subset = Subset(name)

    def apply(snapshot: Snapshot, change: Change) -> None:
        holding.activator.apply(*subset.apply(snapshot, change))
        server.apply(snapshot, change)

    await feed.start(apply, running=holding.activator.running, activator=name)
    link.start()
    checks: dict[str, Check] = {"snapshot": feed.not_ready, "draining": lambda: "draining" if life.ending else ""}
    await _admin(ground, options.admin, checks, feed)
    address = await server.listen(*split_address(options.http))
    life.on_stop("activator", server.drain, within_s=120.0)
    say_ready(http=address)


class BrokerOptions(NamedTuple):
    """role: all, ingress or dispatcher."""

    http: str
    admin: str
    source: Source
    data: Path
    role: str = "all"


async def broker(ground: Ground, options: BrokerOptions) -> None:
    """The event path alone. `dataplane events --data DIR` finds it by the instance file that it writes."""
    from broker.settings import BrokerSettings
    from launch.eventing import OF_ONE_PROCESS, Eventing, Inspection

    life = ground.life
    tasks = Tasks("broker")
    life.on_stop("tasks", tasks.close)
    lock = Lock(options.data)
    life.on_stop("lock", _sync(lock.release))
    settings = ground.settings.section("broker", BrokerSettings)
    if options.role != "all" and settings.store in OF_ONE_PROCESS:
        raise ConfigFault(
            f"--role {options.role}: the {settings.store} store belongs to one process; "
            "halves need --set broker.store=redis or kafka"
        )
    must_be_free({"--http": options.http if options.role != "dispatcher" else "", "--admin": options.admin})
    feed = Feed(ground, options.source, tasks)
    eventing = Eventing(
        ground,
        settings=settings,
        data=options.data,
        report=feed.say,
        dispatch=options.role != "ingress",
        half=options.role != "all",
    )
    life.on_stop("eventing", eventing.close, within_s=120.0)  # of a start that fails; else it drains first of all
    await feed.start(eventing.apply)
    checks: dict[str, Check] = {
        "snapshot": feed.not_ready,
        "stores": eventing.service.not_ready,
        "draining": lambda: "draining" if life.ending else "",
    }
    await _admin(ground, options.admin, checks, feed)
    inspection = Inspection(options.data, eventing)
    life.on_stop("inspection", inspection.close)
    api = await inspection.start()
    life.on_stop("eventing", eventing.close, within_s=120.0)
    await eventing.service.settled(FIRST_SNAPSHOT_S)
    if options.role == "dispatcher":
        inspection.write(http="", api=url_of(api), started_at=ground.clock.wall())
        say_ready(api=api)
        return
    http = await eventing.listen(*split_address(options.http))
    inspection.write(http=url_of(http), api=url_of(api), started_at=ground.clock.wall())
    say_ready(http=http, api=api)


async def autoscaler(ground: Ground, token: Redacted, admin_address: str) -> None:
    """Beside the path: stats in, decisions out."""
    from autoscaler.service import Service
    from autoscaler.settings import Settings

    settings = ground.settings.section("autoscaler", Settings)
    must_be_free({"--listen": settings.listen, "--admin": admin_address})
    service = Service(
        settings=settings,
        token=token,
        loop=asyncio.get_running_loop(),
        clock=ground.clock,
        registry=ground.registry,
    )
    await service.start()
    ground.life.on_stop("autoscaler", service.close)
    if admin_address:
        admin = Admin(address=admin_address, registry=ground.registry, checks={"snapshot": service.not_ready})
        await admin.start()
        ground.life.on_stop("admin", admin.stop)
    say_ready(stats=service.address)


async def _admin(ground: Ground, address: str, checks: dict[str, Check], feed: Feed) -> None:
    if not address:
        return
    admin = Admin(address=address, registry=ground.registry, checks=checks, snapshot=lambda: feed.snapshot)
    await admin.start()
    ground.life.on_stop("admin", admin.stop)


def _sync(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        work()

    return run


def hold_on(ground: Ground, lifeline: int) -> None:
    """End when the parent's end of the pipe closes, however the parent ended."""
    loop = asyncio.get_running_loop()

    def cut() -> None:
        loop.remove_reader(lifeline)
        ground.life.end()

    loop.add_reader(lifeline, cut)


def say_ready(**addresses: tuple[str, int]) -> None:
    """The one line on stdout: `ready http=http://127.0.0.1:8080 …`."""
    import click

    words = [f"{name}={url_of(address)}" for name, address in addresses.items()]
    click.echo(" ".join(["ready", *words]))


def url_of(address: tuple[str, int]) -> str:
    host, port = address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
