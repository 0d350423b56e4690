"""`dataplane up`: the control plane, the gateway with its activator, and the autoscaler, in one event loop.

Path: launch/commands/up.py → [all_in_one] → everything else. The one file to read to see how a machine is assembled.

    store ── control (reconcilers, publisher, scale desk) ──snapshot──→ activator, gateway ──stats──→ autoscaler
      ↑         └── pods ──→ kubelet ──→ driver (processes) ──endpoints──→ publisher          └─decisions─→ scale desk
      └── API (kubectl, dataplane, followers in other processes)

Stopped in the reverse order: the gateway drains first, while pods, autoscaler and API still work for what it holds.

Source: architecture.md "The parts", "What it feels like".
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import web

from autoscaler.collect import Collector
from autoscaler.decide import Autoscaler
from broker.settings import BrokerSettings
from controlplane.api import kubeconfig
from controlplane.api.app import BULK, make_app, make_runner
from controlplane.control import Control, Place
from controlplane.hops import HopsApi
from controlplane.manifest import Manifest
from controlplane.publish import Publisher
from controlplane.scaledesk import ScaleDesk, StaleToken
from controlplane.store.contract import Store, StoreFailed
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore
from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.scaling import Decision, ScaleWrite
from dataplane.runtime.admin import Admin, Check, health_routes, split_address
from dataplane.telemetry.logs import Redacted
from launch import instance
from launch.addresses import must_be_free
from launch.datapath import Datapath, Holding
from launch.eventing import Eventing, place_of, reached_at
from launch.first_files import apply_files, create_namespaces, settled
from launch.hops import Link, Source, peers, reporter_name, say_ready, url_of
from launch.instance import Instance, Lock
from launch.live import AboveTheBlock, Status
from launch.pods import make_pods
from launch.settings import UpSettings
from launch.startup import Ground
from launch.workers import Workers, reserved

log = logging.getLogger(__name__)


class UpOptions(NamedTuple):
    """What is no setting: places and peers. images: files that say what to run for an image, the later ones win."""

    data: Path
    manifests: list[Manifest]
    images: tuple[Path, ...] = ()
    autoscaler: str = ""
    activators: tuple[str, ...] = ()
    stream: AboveTheBlock | None = None


async def up(ground: Ground, options: UpOptions) -> None:
    """Everything, until a signal. Prints the ready line on stdout."""
    life, registry, clock = ground.life, ground.registry, ground.clock
    settings = ground.settings.section("up", UpSettings)
    loop = asyncio.get_running_loop()
    tasks = Tasks("up")

    lock = Lock(options.data)
    life.on_stop("lock", _sync(lock.release))
    must_be_free({f"--{name}": getattr(settings, name) for name in ("http", "api", "admin", "local", "events")})
    token = instance.token(options.data)
    store = _store(settings, options.data)
    life.on_stop("store", store.close)
    life.on_stop("tasks", tasks.close)

    http_host, http_port = split_address(settings.http)
    shared = settings.workers > 1 or http_port == 0
    keep = reserved(http_host, http_port) if shared else None
    http = (http_host, keep.getsockname()[1] if keep else http_port)
    local_host, local_port = split_address(settings.local)
    keep_local = None if local_port else reserved(local_host, 0)
    local = (local_host, keep_local.getsockname()[1] if keep_local else local_port)
    events = place_of(options.data, settings.events)

    # --- hops, deaf so far ---
    link = Link(ground, Source(autoscaler=options.autoscaler, token=token), tasks)
    scaler = _Scaler(ground) if not options.autoscaler else None
    holding = Holding(
        settings=ground.settings,
        registry=registry,
        send=scaler.autoscaler.record if scaler is not None else link.send,
        reporter=reporter_name("gateway"),
    )
    life.on_stop("engine", holding.engine.close)
    path = Datapath(holding=holding, settings=ground.settings, activators=peers(options.activators))

    # --- control plane ---
    control = Control(
        store=store,
        loop=loop,
        clock=clock,
        registry=registry,
        place=Place(
            domain=settings.domain,
            url_port=http[1],
            broker_url=url_of(reached_at(events)),
            cluster_local=_authority(local),
        ),
        in_flight=holding.activator.in_flight,
    )
    pods = make_pods(
        ground,
        store=store,
        data=options.data,
        images=options.images,
        on_endpoints=control.publisher.endpoints,
        in_flight=control.occupancy.remaining,
    )
    await pods.kubelet.start()
    life.on_stop("control", control.close)
    life.on_stop("pods", pods.kubelet.close, within_s=20.0)
    control.publisher.subscribe(path.apply)
    if scaler is not None:
        scaler.decide_for(control.desk)
        life.on_stop("autoscaler", scaler.close)
        control.publisher.subscribe(scaler.autoscaler.apply)
    control.open()
    link.start()
    life.on_stop("stats", link.close)

    # --- events ---
    await path.gateway.listen_local(*local, reuse_port=keep_local is not None)
    if keep_local is not None:
        keep_local.close()
    log.info("cluster_local_listening address=%s:%d", *local)
    eventing = Eventing(
        ground,
        settings=_broker_settings(ground, local),
        data=options.data,
        report=control.brokers.report,
    )
    life.on_stop("eventing", eventing.close, within_s=120.0)  # of a start that fails; else it drains before the gateway
    control.publisher.subscribe(eventing.apply)

    # --- API ---
    checks: dict[str, Check] = {
        "store": lambda: "",
        "snapshot": lambda: "" if path.gateway.snapshot.generation > 0 else "none published yet",
        "pods": pods.not_ready,
        "brokers": eventing.service.not_ready,
        "draining": lambda: "draining" if life.ending else "",
    }
    hops = HopsApi(
        publisher=control.publisher,
        desk=control.desk,
        brokers=control.brokers,
        occupancy=control.occupancy,
        activators=control.activators,
        view=control.view,
        account=scaler.autoscaler.explain if scaler is not None else lambda _: None,
    )
    extra: list[web.AbstractRouteDef] = [
        *hops.routes(),
        *eventing.inspect.routes(),
        *health_routes(registry=registry, checks=checks),
    ]
    if scaler is not None:
        collector = Collector(autoscaler=scaler.autoscaler, token=Redacted(""), loop=loop, registry=registry)
        extra += collector.routes()
        life.on_stop("collector", collector.close)
    app = make_app(
        store=store,
        config=control.config,
        clock=clock,
        token=token.reveal(),
        logs=pods.kubelet.logs,
        extra_routes=extra,
    )
    await create_namespaces(store, app[BULK])
    applied = await apply_files(options.manifests, store=store, bulk=app[BULK], config=control.config)
    api = await _serve(ground, app, settings.api)
    life.on_stop("hops", hops.close)

    # --- doors ---
    admin = Admin(address=settings.admin, registry=registry, checks=checks, snapshot=lambda: path.gateway.snapshot)
    await admin.start()
    life.on_stop("admin", admin.stop)
    if settings.workers > 1:
        workers = await _workers(ground, options, settings, holding, control.publisher, http, api, tasks)
        checks["workers"] = workers.not_ready
        life.on_stop("workers", workers.stop, within_s=120.0)
        life.on_stop("gateway", path.gateway.drain, within_s=120.0)
    else:
        await path.gateway.listen(*http, reuse_port=shared)
        life.on_stop("gateway", path.gateway.drain, within_s=120.0)
    if keep is not None:
        keep.close()
    life.on_stop("eventing", eventing.close, within_s=120.0)
    await eventing.listen(*events)

    here = Instance(
        data=options.data,
        pid=os.getpid(),
        http=url_of(http),
        api=url_of(api),
        admin=url_of((split_address(settings.admin)[0], admin.port)),
        token_path=(options.data / "token").absolute(),
        started_at=clock.wall(),
    )
    kubeconfig.write(options.data / "kubeconfig", server=here.api, token=token.reveal())
    instance.write(here)
    life.on_stop("instance", _sync(lambda: instance.remove(options.data)))
    status = Status(store=store, title=f"http={here.http}  api={here.api}", stream=options.stream, loop=loop)
    life.on_stop("status", status.close)
    for key in await settled(store, applied):
        log.warning("not_ready_yet kind=%s name=%s/%s", key.kind, key.namespace, key.name)
    status.aside(lambda: say_ready(http=http, api=api))


class _Scaler:
    """The autoscaler in this process and its lease on the scale desk."""

    def __init__(self, ground: Ground) -> None:
        self.autoscaler = Autoscaler(
            loop=asyncio.get_running_loop(), clock=ground.clock, registry=ground.registry, actuate=self._actuate
        )
        self._desk: ScaleDesk | None = None
        self._lease = 0

    def decide_for(self, desk: ScaleDesk) -> None:
        self._desk = desk
        self._lease = desk.lease()

    async def close(self) -> None:
        self.autoscaler.close()

    def _actuate(self, decisions: tuple[Decision, ...]) -> None:
        assert self._desk is not None
        try:
            self._desk.accept(ScaleWrite(token=self._lease, decisions=decisions))
        except StaleToken:
            # Somebody started another autoscaler without telling `up` (--autoscaler URL): ours is the one in charge.
            log.warning("scale_lease_taken_back")
            self._lease = self._desk.lease()
            self._desk.accept(ScaleWrite(token=self._lease, decisions=decisions))


async def _serve(ground: Ground, app: web.Application, address: str) -> tuple[str, int]:
    host, port = split_address(address)
    runner = make_runner(app)
    await runner.setup()
    ground.life.on_stop("api", runner.cleanup)
    await web.TCPSite(runner, host, port).start()
    bound: tuple[str, int] = runner.addresses[0][:2]
    return bound


async def _workers(
    ground: Ground,
    options: UpOptions,
    settings: UpSettings,
    holding: Holding,
    publisher: Publisher,
    http: tuple[str, int],
    api: tuple[str, int],
    tasks: Tasks,
) -> Workers:
    """Gateways in processes of their own; this process keeps the activator, which is where limits are counted."""
    from activator.accept import ActivatorServer
    from activator.settings import ActivatorSettings

    activators = options.activators
    if not activators:
        server = ActivatorServer(
            engine=holding.engine,
            activator=holding.activator,
            settings=ground.settings.section("activator", ActivatorSettings),
        )
        publisher.subscribe(server.apply)
        activators = (url_of(await server.listen("127.0.0.1", 0)),)
        ground.life.on_stop("activator", server.drain, within_s=60.0)
    arguments = ["--http", url_of(http).removeprefix("http://"), "--reuse-port", "--admin", "127.0.0.1:0"]
    arguments += ["--control", url_of(api), "--token-file", str(options.data / "token")]
    arguments += ["--autoscaler", options.autoscaler or url_of(api)]
    arguments += [word for one in activators for word in ("--activator", one)]
    workers = Workers(count=settings.workers, arguments=tuple(arguments), tasks=tasks)
    await workers.start()
    return workers


def _broker_settings(ground: Ground, local: tuple[str, int]) -> BrokerSettings:
    """Cluster-local names are served by our own gateway, unless somebody said who else does."""
    settings = ground.settings.section("broker", BrokerSettings)
    if settings.cluster_local_gateway:
        return settings
    return msgspec.structs.replace(settings, cluster_local_gateway=_authority(local))


def _authority(address: tuple[str, int]) -> str:
    return url_of(reached_at(address)).removeprefix("http://")


def _store(settings: UpSettings, data: Path) -> Store:
    if settings.in_memory:
        return MemoryStore()
    try:
        return SqliteStore(data / "state.db")
    except StoreFailed as error:
        raise ConfigFault(str(error)) from None


def _sync(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        work()

    return run
