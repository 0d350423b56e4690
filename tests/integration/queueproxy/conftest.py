"""A queue-proxy on port 0 in front of a small app, on real sockets; raw clients."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from dataplane.clock import Clock
from dataplane.net.engine import Engine
from dataplane.telemetry.metrics import Registry
from queueproxy.accept import QueueProxy
from queueproxy.checks import Check
from queueproxy.settings import QueueProxySettings

HEAD_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class App:
    """The user's container: answers with `answer` (bytes or a coroutine function), keeps every head and body it got."""

    def __init__(self) -> None:
        self.answer: bytes | Callable[..., Awaitable[None]] = HEAD_OK
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.running = self.most = self.closed = self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                lower = head.lower()
                if b"content-length:" in lower:
                    size = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
                    self.bodies.append(await reader.readexactly(size))
                self.running += 1
                self.most = max(self.most, self.running)
                try:
                    if callable(self.answer):
                        await self.answer(reader, writer, head)
                    else:
                        writer.write(self.answer)
                        await writer.drain()
                finally:
                    self.running -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.closed += 1
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()


class Answer(msgspec.Struct):
    """at_s: seconds from the start of the test's stand to the end of the response."""

    status: int
    head: bytes
    body: bytes
    at_s: float = 0.0

    def field(self, name: bytes) -> bytes | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name:
                return value.strip()
        return None


class Stand:
    def __init__(self, settings: QueueProxySettings, app: App, sent: list) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.app = app
        self.sent = sent
        self.registry = Registry()
        self.engine = Engine(loop=loop, registry=self.registry)
        clock = Clock(monotonic=loop.time, wall=lambda: 1_800_000_000.0)
        self.proxy = QueueProxy(engine=self.engine, settings=settings, clock=clock, send=sent.append)
        self.port = 0
        self._clients: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        _, self.port = await self.proxy.listener.start("127.0.0.1", 0)
        self.began = self.loop.time()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        self._clients.append(writer)
        return reader, writer

    async def send(self, whole: bytes) -> Answer:
        """One request, on a connection of its own, to the end of the connection."""
        reader, writer = await self.connect()
        writer.write(whole)
        data = await reader.read()
        writer.close()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1]) if head else 0
        return Answer(status, head, body, self.loop.time() - self.began)

    async def get(self, target: str = "/", *, method: str = "GET", **headers: str) -> Answer:
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        return await self.send(
            f"{method} {target} HTTP/1.1\r\nhost: app.example\r\n{lines}connection: close\r\n\r\n".encode()
        )

    async def probe(self, agent: str = "kube-probe/1.33", probe: str | None = "queue") -> Answer:
        return await self.get("/healthz", user_agent=agent, **({} if probe is None else {"k_network_probe": probe}))

    def metric(self, name: str) -> float:
        lines = self.registry.render().splitlines()
        return sum(float(x.rsplit(" ", 1)[1]) for x in lines if x.startswith((f"{name} ", f"{name}{{")))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        for writer in self._clients:
            with contextlib.suppress(Exception):
                writer.transport.abort()
        self.proxy.traffic.close()
        await self.proxy.listener.drain(deadline=self.loop.time())
        await self.proxy.listener.drain(deadline=self.loop.time() + 1)
        await self.engine.close()


@pytest.fixture
async def app():
    app = App()
    await app.start()
    yield app
    await app.stop()


@pytest.fixture
async def make_stand(app):
    stands: list[Stand] = []

    async def make(**changed: object) -> Stand:
        port = changed.pop("user_port", app.port)
        settings = QueueProxySettings(
            user_port=port,
            readiness=changed.pop("readiness", (Check(port=port),)),
            namespace="default",
            service="hello",
            configuration="hello",
            revision="hello-00001",
            pod="pod-1",
            **changed,
        )
        stand = Stand(settings, app, [])
        stands.append(stand)
        await stand.start()
        return stand

    yield make
    for stand in stands:
        await stand.stop()


@pytest.fixture
async def stand(make_stand):
    return await make_stand()
