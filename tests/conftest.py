"""What every test may ask for: a gateway with a fused activator on real sockets, a raw client, and an origin that logs bytes."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import hypothesis
import pytest

from activator.accept import ActivatorServer
from activator.admission import Activator
from activator.hold import HoldSettings
from activator.settings import ActivatorSettings
from dataplane.net.engine import Engine
from dataplane.net.pool import PoolSettings
from dataplane.resources.snapshot import Endpoint, Path, Revision, Route, Rule, Snapshot, Split
from dataplane.telemetry.metrics import Registry
from gateway.accept import Gateway
from gateway.remote import RemoteAdmission
from gateway.settings import GatewaySettings
from tests.quiet import read_until_quiet

if os.environ.get("DATAPLANE_TEST_LOOP") == "uvloop":  # the same tests on the loop of production
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background; programs that tests start inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A property is about what is true, not about how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("untimed")

HOST = "hello.default.localhost"
KEY = "default/hello-00001"

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Origin:
    """A server that logs every byte it gets and answers each request head with `answer` (bytes, or a coroutine function)."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.answer: bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]] = OK
        self.connections = 0
        self.closed = 0
        self.requests = 0
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    @property
    def log(self) -> bytes:
        return b"".join(self.received)

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 22)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.received.append(head)
                self.requests += 1
                if callable(self.answer):
                    await self.answer(reader, writer, head)
                else:
                    lower = head.lower()
                    if b"content-length:" in lower:
                        size = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
                        self.received.append(await reader.readexactly(size))
                    elif b"transfer-encoding:" in lower:
                        while not self.received[-1].endswith(b"0\r\n\r\n"):
                            data = await reader.read(65536)
                            if not data:
                                return
                            self.received.append(data)
                    writer.write(self.answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.closed += 1
            self._tasks.discard(asyncio.current_task())
            writer.close()


class Nothing:
    """A local admission that serves nothing itself: every request goes to an activator."""

    def take(self, revision: str, avoid: str = "") -> None:
        return None


class House:
    """A gateway with its activator, fused or as a hop of its own, one origin as the only pod, on port 0."""

    def __init__(self, settings: GatewaySettings, hold: HoldSettings, pool: PoolSettings, *, separate: bool) -> None:
        self.registry = Registry()
        self.engine = Engine(loop=asyncio.get_running_loop(), registry=self.registry, pool=pool)
        self.activator = Activator(engine=self.engine, settings=hold)
        self.separate = separate
        self.server = ActivatorServer(engine=self.engine, activator=self.activator, settings=ActivatorSettings())
        self._gateway_settings = settings
        self.gateway = Gateway(engine=self.engine, admission=self.activator, settings=settings)
        self.origin = Origin()
        self.port = 0
        self.generation = 0
        self._clients: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        await self.origin.start()
        if self.separate:
            address = await self.server.listen("127.0.0.1", 0)
            remote = RemoteAdmission(local=Nothing(), activators=(address,), clock=self.engine.clock)
            self.gateway = Gateway(engine=self.engine, admission=remote, settings=self._gateway_settings)
        self.publish([self.origin])
        _, self.port = await self.gateway.listen("127.0.0.1", 0)

    def apply(self, snapshot: Snapshot) -> None:
        self.activator.apply(snapshot)
        self.server.apply(snapshot)
        self.gateway.apply(snapshot)

    def publish(self, origins: list, **revision: object) -> None:
        """Route HOST to one revision whose pods are these origins (or "host:port" strings)."""
        self.generation += 1
        endpoints = tuple(
            Endpoint(id=f"pod-{getattr(o, 'address', o)}", address=getattr(o, "address", o)) for o in origins
        )
        made = Revision(namespace="default", name="hello-00001", service="hello", endpoints=endpoints, **revision)
        rule = Rule(hosts=(HOST,), paths=(Path(splits=(Split(revision=KEY),)),))
        route = Route(namespace="default", name="hello", rules=(rule,), hash="cafe")
        self.apply(Snapshot(generation=self.generation, routes={"default/hello": route}, revisions={KEY: made}))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        self._clients.append(writer)
        return reader, writer

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, read until the connection closes or nothing came for a while."""
        reader, writer = await self.connect()
        writer.write(data)
        out = await read_until_quiet(reader)
        writer.close()
        return out

    async def get(self, target: str = "/", method: str = "GET", headers: str = "") -> tuple[int, bytes, bytes]:
        """(status, head, body) of one request on its own connection."""
        reader, writer = await self.connect()
        writer.write(f"{method} {target} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{headers}\r\n".encode())
        whole = await reader.read()
        writer.close()
        head, _, body = whole.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]) if head else 0, head, body

    def metric(self, name: str, label: str = "") -> float:
        """Sum of the samples of a metric, of those with `label` (`name="value"`)."""
        total = 0.0
        for line in self.registry.render().splitlines():
            if line.startswith((f"{name} ", f"{name}{{")) and label in line:
                total += float(line.rsplit(" ", 1)[1])
        return total

    async def stop(self) -> None:
        for writer in self._clients:
            with contextlib.suppress(Exception):
                writer.transport.abort()
        for listener in [*self.gateway._listeners, self.server._listener]:
            listener.stop_accepting()
            for connection in list(listener._connections):
                connection.close()
        await self.origin.stop()
        await self.engine.close()
        await asyncio.sleep(0)


HouseFactory = Callable[..., Awaitable[House]]


@pytest.fixture(params=["fused", "separate"])
async def make_house(request: pytest.FixtureRequest) -> AsyncIterator[HouseFactory]:
    """The activator in the gateway's process, and as a hop of its own: the same tests for both."""
    houses: list[House] = []

    async def make(
        settings: GatewaySettings | None = None, hold: HoldSettings | None = None, pool: PoolSettings | None = None
    ) -> House:
        house = House(
            settings or GatewaySettings(),
            hold or HoldSettings(),
            pool or PoolSettings(),
            separate=request.param == "separate",
        )
        houses.append(house)
        await house.start()
        return house

    yield make
    for house in houses:
        await house.stop()


@pytest.fixture
async def house(make_house: HouseFactory) -> House:
    return await make_house()
