"""A subscriber on a real socket that does what a test tells it, and remembers every request."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def answer(status: int, headers: str = "", body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status} Said\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


class Request:
    def __init__(self, head: bytes, body: bytes) -> None:
        self.head, self.body = head, body
        self.line, *lines = head.decode("latin-1").split("\r\n")
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            if name:
                assert name.lower() not in self.headers, f"{name} twice"
                self.headers[name.lower()] = value
        self.at = asyncio.get_running_loop().time()


Script = Callable[[Request, asyncio.StreamWriter], "bytes | None | Awaitable[bytes | None]"]


class Subscriber:
    """`script(request, writer)`: the bytes to answer with; None: close. May be a coroutine function, or just bytes."""

    def __init__(self, script: Script | bytes = OK) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = self.running = self.running_max = 0
        self._readers: list[asyncio.StreamReader] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()
        self._arrived = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def open(self) -> int:
        """Connections whose other end is still there."""
        return sum(not (reader.at_eof() or reader.exception()) for reader in self._readers)

    async def start(self, tls: ssl.SSLContext | None = None) -> "Subscriber":
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=tls, limit=1 << 22, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def got(self, count: int, limit_s: float = 10.0) -> list[Request]:
        async with asyncio.timeout(limit_s):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._readers.append(reader)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = Request(head, b"")
                request.body = await reader.readexactly(int(request.headers.get("content-length", 0)))
                self.requests.append(request)
                self._arrived.set()
                self.running += 1
                self.running_max = max(self.running_max, self.running)
                try:
                    said = self.script if isinstance(self.script, bytes) else self.script(request, writer)
                    if said is not None and not isinstance(said, bytes):
                        said = await said
                finally:
                    self.running -= 1
                if said is None:
                    return
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._readers.remove(reader)
            self._tasks.discard(task)
            writer.close()
