"""A client that hides nothing: open loop, keep-alive, no retries; every request is on the record.

A request is due every 1/rate seconds whether earlier ones were answered or not; it takes an idle connection or opens
one. A connection that the server closes while idle is replaced; one that closes under a request is a failed request.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator

Build = Callable[[int], bytes]


class Shot:
    """One request. Instants are loop seconds; status 0 and `error` when no whole response came."""

    __slots__ = ("body", "done_at", "error", "head", "method", "number", "sent_at", "status")

    def __init__(self, number: int, method: str, sent_at: float) -> None:
        self.number, self.method, self.sent_at = number, method, sent_at
        self.done_at = 0.0
        self.status = 0
        self.head = b""
        self.body = b""
        self.error = ""

    def __repr__(self) -> str:
        return f"<{self.number} {self.method} {self.status} {self.error} {self.head[:200]!r} {self.body[:60]!r}>"


class _Connection(asyncio.Protocol):
    def __init__(self, load: "Load") -> None:
        self.load = load
        self.shot: Shot | None = None
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.load.connections.add(self)

    def fire(self, shot: Shot, request: bytes) -> None:
        self.shot = shot
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while self.shot is not None:
            head, mark, rest = self.data.partition(b"\r\n\r\n")
            if not mark:
                return
            lower = head.lower()
            at = lower.find(b"\r\ncontent-length:")
            if at < 0:
                self._end("the response has no content-length")
                return
            size = int(lower[at + 17 :].partition(b"\r\n")[0])
            if len(rest) < size:
                return
            self.shot.status = int(head[9:12])
            self.shot.head = head
            self.shot.body = rest[:size]
            self.data = rest[size:]
            self._end("bytes after the response" if self.data else "", keep=b"\r\nconnection: close" not in lower)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.connections.discard(self)
        self.load.idle.pop(self, None)
        if self.shot is not None:
            self._end(f"connection lost: {error or 'end of file'} after {len(self.data)} bytes")

    def _end(self, error: str, keep: bool = False) -> None:
        shot, self.shot = self.shot, None
        assert shot is not None
        self.load.ended(shot, error)
        if keep and not error:
            self.load.idle[self] = None
        else:
            self.transport.close()


class Load:
    """Requests to one address. `build(number)` gives the bytes of request `number`. An async context manager."""

    def __init__(self, port: int, build: Build) -> None:
        self.port, self.build = port, build
        self.idle: dict[_Connection, None] = {}
        self.connections: set[_Connection] = set()
        self.open: dict[Shot, None] = {}
        self.shots: list[Shot] = []
        self.late_s = 0.0  # how far the client itself fell behind its plan, at worst
        self._numbers: Iterator[int] = itertools.count()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task] = set()
        self._running: asyncio.Task | None = None
        self._quiet = asyncio.Event()
        self._stopping = False

    # ---- one by one, all at once, at a rate --------------------------------------------------------

    def shoot(self) -> Shot:
        """One request now. It is on the record at once, and done some time later."""
        number = next(self._numbers)
        request = self.build(number)
        shot = Shot(number, request.partition(b" ")[0].decode(), self._loop.time())
        self.shots.append(shot)
        self.open[shot] = None
        if self.idle:
            connection = next(iter(self.idle))
            del self.idle[connection]
            connection.fire(shot, request)
        else:
            task = self._loop.create_task(self._dial(shot, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return shot

    async def connect(self, count: int) -> None:
        """Have `count` idle connections; shoot() then takes the oldest first."""
        while len(self.idle) < count:
            wanted = min(200, count - len(self.idle))
            made = [
                self._loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port) for _ in range(wanted)
            ]
            self.idle |= {connection: None for _, connection in await asyncio.gather(*made)}

    def start(self, rate_per_s: float) -> None:
        self._running = self._loop.create_task(self._run(rate_per_s))

    async def stop(self, within_s: float = 30.0) -> None:
        """No new requests; waits for the open ones, which fail the record when they hang."""
        self._stopping = True
        if self._running is not None:
            await self._running
        await self.settle(within_s)

    async def __aenter__(self) -> "Load":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whatever is still open is cut."""
        self._stopping = True
        for task in [*self._tasks, *([self._running] if self._running else [])]:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def settle(self, within_s: float) -> None:
        """Until nothing is open; what hangs longer is on the record as such."""
        deadline = self._loop.time() + within_s
        while self.open and self._loop.time() < deadline:
            self._quiet.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._quiet.wait()
            except TimeoutError:
                break
        for shot in list(self.open):
            self.ended(shot, f"hung for {self._loop.time() - shot.sent_at:.1f} s")

    # ---- the record ----------------------------------------------------------------------------------

    @property
    def failed(self) -> list[Shot]:
        """What ended in anything but 200 with a whole body."""
        return [shot for shot in self.shots if shot not in self.open and (shot.error or shot.status != 200)]

    def statuses(self) -> Counter[str]:
        return Counter(shot.error or str(shot.status) for shot in self.shots)

    def summary(self) -> str:
        took = sorted(shot.done_at - shot.sent_at for shot in self.shots if shot.status and not shot.error)
        if not took:
            return "no request was answered"
        span = max(1e-9, self.shots[-1].sent_at - self.shots[0].sent_at)
        at = {q: took[min(len(took) - 1, int(len(took) * q))] * 1000 for q in (0.5, 0.99, 1.0)}
        return (
            f"{len(self.shots)} requests, {len(self.shots) / span:.0f}/s, p50 {at[0.5]:.1f} ms, p99 {at[0.99]:.1f} ms, "
            f"max {at[1.0]:.1f} ms, client late by {self.late_s * 1000:.0f} ms at worst, {dict(self.statuses())}"
        )

    # ---- helpers -------------------------------------------------------------------------------------

    def ended(self, shot: Shot, error: str) -> None:
        if shot in self.open:
            del self.open[shot]
            shot.done_at = self._loop.time()
            shot.error = f"{shot.status}: {error}" if error and shot.status else error
        if not self.open:
            self._quiet.set()

    async def _run(self, rate_per_s: float) -> None:
        due = self._loop.time()
        while not self._stopping:
            now = self._loop.time()
            self.late_s = max(self.late_s, now - due)
            while due <= now:
                self.shoot()
                due += 1 / rate_per_s
            await asyncio.sleep(max(0.001, due - self._loop.time()))

    async def _dial(self, shot: Shot, request: bytes) -> None:
        try:
            _, connection = await self._loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
        except OSError as error:
            self.ended(shot, f"connect: {error}")
            return
        connection.fire(shot, request)


def get(host: str, path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()


def post(host: str, path: str = "/", body: bytes = b"once") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
