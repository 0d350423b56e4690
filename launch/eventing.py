"""The event path on an engine of its own: ingress, stores, dispatchers; of `up` and of `dataplane broker`.

Path: a snapshot, from whoever follows one → [eventing] → broker/service.py; producers → broker/ingress.py.

The only place that picks a store.

Source: architecture.md "The parts", "The four contracts" 3.
"""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from msgspec.structs import replace

from broker.dispatcher import TriggerConsumer
from broker.ingress import Ingress
from broker.inspect import Inspect
from broker.journal import Journal
from broker.keep import Runner
from broker.meters import DeliveryMeters
from broker.service import BrokerService
from broker.settings import BrokerSettings
from broker.store.contract import EventStore
from dataplane.net.engine import Engine
from dataplane.net.pool import PoolSettings
from dataplane.policy.filters import Filter
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.resources.triggers import Reported, Trigger
from dataplane.runtime.admin import split_address
from launch import instance
from launch.instance import Instance
from launch.startup import Ground

CONNECT_TIMEOUT_S = 5.0  # to subscribers, which may be far away
OF_ONE_PROCESS = ("memory", "sqlite")

log = logging.getLogger(__name__)


class Eventing:
    """`apply` is what a publisher or follower calls; `listen` opens the ingress."""

    def __init__(
        self,
        ground: Ground,
        *,
        settings: BrokerSettings,
        data: Path,
        report: Callable[[Reported], None] = lambda _: None,
        dispatch: bool = True,
        half: bool = False,
    ) -> None:
        """half: other processes do the rest of the work, so brokers that one process keeps for itself are not here."""
        self._half = half
        self._closed = False
        self._ground, self._settings, self._data = ground, settings, data
        loop = asyncio.get_running_loop()
        self.engine = Engine(
            loop=loop, registry=ground.registry, pool=PoolSettings(connect_timeout_s=CONNECT_TIMEOUT_S)
        )
        self.journal = Journal(facts_max=settings.journal_facts_max)
        self._meters = DeliveryMeters(ground.registry, ground.clock.wall)
        self.service = BrokerService(
            settings=settings,
            make_store=self._store,
            make_runner=self._runner,
            clock=ground.clock._replace(monotonic=loop.time),
            registry=ground.registry,
            report=report,
            dispatch=dispatch,
        )
        self._ingress = Ingress(
            engine=self.engine,
            settings=settings,
            logs=self.service.log,
            known=self.service.known,
            clock=ground.clock,
            journal=self.journal,
        )
        self.inspect = Inspect(service=self.service, journal=self.journal)

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        self.service.apply(self._shared(snapshot, change) if self._half else snapshot, change)

    def _shared(self, snapshot: Snapshot, change: Change | None) -> Snapshot:
        """What an ingress alone would keep for itself, no dispatcher would ever see."""
        own = {
            key: one for key, one in snapshot.brokers.items() if (one.store or self._settings.store) in OF_ONE_PROCESS
        }
        for key in own:
            if change is None or key in change.brokers:
                log.warning("broker_not_shared name=%s store=%s", key, own[key].store or self._settings.store)
        return replace(snapshot, brokers={key: one for key, one in snapshot.brokers.items() if key not in own})

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        return await self._ingress.listen(host, port)

    async def close(self) -> None:
        """Accept nothing more, deliver what is in flight, make it durable. A second time: nothing."""
        if self._closed:
            return
        self._closed = True
        await self._ingress.drain()
        await self.inspect.close()
        await self.service.drain()
        await self.engine.close()

    def _runner(self, trigger: Trigger, filter_: Filter, broker: str) -> Runner:
        return TriggerConsumer(
            engine=self.engine,
            trigger=trigger,
            filter=filter_,
            settings=self._settings,
            broker=broker,
            journal=self.journal,
            clock=self._ground.clock,
            meters=self._meters,
        )

    def _store(self, kind: str) -> EventStore:
        settings, ground = self._settings, self._ground
        if kind == "sqlite":
            from broker.store.sqlite.store import SqliteStore

            return SqliteStore(
                self._data / "events",
                durability=settings.durability,
                clock=ground.clock,
                registry=ground.registry,
                on_broken=ground.life.end,
            )
        if kind == "redis":
            from broker.store.redis.store import RedisStore

            return RedisStore(
                url=settings.redis_url,
                clock=ground.clock,
                registry=ground.registry,
                lease_s=settings.redis_lease_s,
                replicas=settings.redis_replicas,
            )
        if kind == "kafka":
            from broker.store.kafka.store import KafkaStore

            return KafkaStore(
                settings.kafka_bootstrap,
                instance=_lasting_name(self._data),
                session_s=settings.kafka_session_s,
                clock=ground.clock,
                registry=ground.registry,
            )
        from broker.store.memory import MemoryStore

        return MemoryStore(clock=ground.clock, registry=ground.registry)


def place_of(data: Path, wanted: str) -> tuple[str, int]:
    """Where brokers of `up` listen. Port 0: the port of the last run on `data` if it is still free, else any free one;
    it is remembered."""
    host, port = split_address(wanted)
    remembered = data / "events-port"
    if port:
        return host, port
    try:
        before = int(remembered.read_text())
    except (OSError, ValueError):
        before = 0
    port = _free(host, before) or _free(host, 0)
    if before not in (0, port):
        log.warning(
            "events_port_taken before=%d now=%d: producers that keep the address of a Broker do not reach it",
            before,
            port,
        )
    remembered.write_text(f"{port}\n")
    return host, port


def reached_at(address: tuple[str, int]) -> tuple[str, int]:
    """Where this machine reaches a listener: one on every interface is on loopback, too."""
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host), port


def _lasting_name(data: Path) -> str:
    """Of this data directory, over restarts, and nobody else's: Kafka gives a member back what it had."""
    path = data / "broker-name"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        name = f"dataplane-{uuid.uuid4().hex[:12]}"
        path.write_text(f"{name}\n")
        return name


def _free(host: str, port: int) -> int:
    """`port` if it can be had (0: any), else 0."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            return 0
        return int(probe.getsockname()[1])


async def _no_resources(_: web.Request) -> web.StreamResponse:
    from controlplane.api.status import ApiError

    why = "it is a broker of its own, which `dataplane send` and `dataplane events` ask"
    raise ApiError(404, "NotFound", f"the server could not find the requested resource: {why}")


class Inspection:
    """The inspection API of a broker process of its own, on any loopback port, behind the guard of every API."""

    def __init__(self, data: Path, eventing: Eventing) -> None:
        self._data, self._eventing = data, eventing
        self._runner: web.AppRunner | None = None

    async def start(self) -> tuple[str, int]:
        from controlplane.api.app import make_runner
        from controlplane.api.guard import answers, guard

        app = web.Application(middlewares=[answers, guard(instance.token(self._data).reveal())])
        app.add_routes([*self._eventing.inspect.routes(), web.route("*", "/{rest:.*}", _no_resources)])
        self._runner = make_runner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        bound: tuple[str, int] = self._runner.addresses[0][:2]
        return bound

    def write(self, *, http: str, api: str, started_at: float) -> None:
        """Commands find this process by `--data` from now on."""
        instance.write(
            Instance(
                data=self._data,
                pid=os.getpid(),
                http=http,
                api=api,
                admin=api,
                token_path=(self._data / "token").absolute(),
                started_at=started_at,
            )
        )

    async def close(self) -> None:
        await self._eventing.inspect.close()
        instance.remove(self._data)
        if self._runner is not None:
            await self._runner.cleanup()
