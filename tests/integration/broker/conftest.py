"""An ingress on a real socket, in front of logs that do as the test says, and a client that reads whole answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import pytest

from broker.ingress import Ingress
from broker.journal import Journal
from broker.settings import BrokerSettings
from broker.store.contract import Done, EventLog, Record
from dataplane.clock import SYSTEM
from dataplane.errors import StoreFault
from dataplane.net.engine import Engine
from dataplane.telemetry.metrics import Registry

CE = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"


class Log:
    """Keeps what it is given. `fault`: fails instead. `held`: says nothing until `release`."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.fault: StoreFault | None = None
        self.held: list[tuple[Sequence[Record], Done]] | None = None

    def append(self, batch: Sequence[Record], done: Done) -> None:
        if self.held is not None:
            self.held.append((batch, done))
        else:
            asyncio.get_running_loop().call_soon(self._settle, batch, done)

    def release(self) -> None:
        held, self.held = self.held or [], None
        for batch, done in held:
            self._settle(batch, done)

    def _settle(self, batch: Sequence[Record], done: Done) -> None:
        if self.fault is None:
            self.records += batch
        done(self.fault)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: str | bytes) -> None:
        self.writer.write(data if isinstance(data, bytes) else data.encode("latin-1"))

    def post(self, path: str = "/ns/b", headers: str = CE, body: str | bytes = b"") -> None:
        body = body if isinstance(body, bytes) else body.encode()
        self.send(f"POST {path} HTTP/1.1\r\nhost: broker\r\n{headers}content-length: {len(body)}\r\n\r\n")
        self.send(body)

    async def answer(self) -> Answer:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            line, *fields = head[:-4].decode("latin-1").split("\r\n")
            headers = {name: value for name, _, value in (field.partition(": ") for field in fields)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(line.split()[1]), headers, body)

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def posted(self, path: str = "/ns/b", headers: str = CE, body: str | bytes = b"") -> Answer:
        self.post(path, headers, body)
        return await self.answer()

    def close(self) -> None:
        self.writer.close()


class World:
    """The ingress and what stands around it."""

    def __init__(self, settings: BrokerSettings) -> None:
        loop = asyncio.get_running_loop()
        self.logs: dict[str, EventLog | Log] = {"ns/b": Log()}
        self.wanted: set[str] = {"ns/b"}
        self.registry = Registry()
        self.engine = Engine(loop=loop, registry=self.registry)
        self.journal = Journal(facts_max=1000)
        self.ingress = Ingress(
            engine=self.engine,
            settings=settings,
            logs=self.logs.get,  # type: ignore[arg-type]
            clock=SYSTEM,
            journal=self.journal,
            known=self.wanted.__contains__,
        )
        self.address = ("", 0)
        self._clients: list[Client] = []

    @property
    def log(self) -> Log:
        found = self.logs["ns/b"]
        assert isinstance(found, Log)
        return found

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.address))
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        for log in self.logs.values():
            if isinstance(log, Log):
                log.release()
        await self.ingress.drain()
        await self.engine.close()

    def counted(self, line: str) -> float:
        """The value of one series."""
        for text in self.registry.render().splitlines():
            if text.startswith(line + " "):
                return float(text.rpartition(" ")[2])
        return 0.0


@pytest.fixture
async def world() -> AsyncIterator[Callable[..., Awaitable[World]]]:
    made: list[World] = []

    async def make(**settings: object) -> World:
        here = World(BrokerSettings(**{"drain_timeout_s": 0.2, **settings}))  # type: ignore[arg-type]
        here.address = await here.ingress.listen("127.0.0.1", 0)
        made.append(here)
        return here

    yield make
    for here in made:
        await here.close()


@pytest.fixture(name="Log")
def log_class() -> type[Log]:
    return Log
