"""Producers and subscribers that keep count of every event: what was acknowledged, what arrived, how often.

A producer sends at a rate, open loop: an event is due every 1/rate seconds on the next free of its connections. It
never repeats an event: acknowledged is what got a 202, unclear is what got no answer. A subscriber writes down each id that it got.
`History` puts both side by side, and keeps what happened in a file of JSON lines, so that a failure can be read afterwards.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from pathlib import Path


class History:
    """Everything that producers and subscribers saw."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w")
        self.acknowledged: dict[str, float] = {}
        self.unclear: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.got: dict[str, Counter[str]] = {}

    def note(self, what: str, **more: object) -> None:
        self._file.write(json.dumps({"at": round(time.time(), 4), "what": what, **more}) + "\n")

    def received(self, subscriber: str, id_: str) -> None:
        self.got.setdefault(subscriber, Counter())[id_] += 1

    def missing(self, subscriber: str) -> set[str]:
        return self.acknowledged.keys() - self.got.get(subscriber, Counter()).keys()

    def duplicates(self, subscriber: str) -> int:
        """Deliveries beyond the first of each event."""
        got = self.got.get(subscriber, Counter())
        return got.total() - len(got)

    def never_sent(self, subscriber: str) -> set[str]:
        """Ids that arrived and that no producer knows: a corrupted or foreign record."""
        return self.got.get(subscriber, Counter()).keys() - self.acknowledged.keys() - self.unclear

    def close(self) -> None:
        for subscriber in self.got:
            for id_ in sorted(self.missing(subscriber))[:1000]:
                self.note("missing", subscriber=subscriber, id=id_, acknowledged_at=self.acknowledged[id_])
        self._file.close()


class _Serving(asyncio.Protocol):
    def __init__(self, subscriber: "Subscriber") -> None:
        self.subscriber = subscriber
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.subscriber.transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.subscriber.transports.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while True:
            head, mark, rest = self.data.partition(b"\r\n\r\n")
            if not mark:
                return
            lower = head.lower()
            at = lower.find(b"\r\ncontent-length:")
            size = int(lower[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(rest) < size:
                return
            body, self.data = rest[:size], rest[size:]
            self.subscriber.handle(head, body, self.transport)


class Subscriber:
    """Answers 202 to every event; `answer(head, body)` may say something else. One address, several names by path."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.transports: set[asyncio.Transport] = set()
        self.answer = lambda head, body: b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
        self.address = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Serving(self), "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def handle(self, head: bytes, body: bytes, transport: asyncio.Transport) -> None:
        path = head.split(b" ", 2)[1].decode().strip("/")
        at = head.lower().find(b"\r\nce-id:")
        self.history.received(path, head[at + 8 :].partition(b"\r\n")[0].strip().decode())
        transport.write(self.answer(head, body))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for transport in list(self.transports):
            transport.abort()


class Producer:
    """Sends `rate` events per second to `url` over `connections` connections until `stop`."""

    def __init__(
        self, history: History, port: int, path: str, *, rate: float, connections: int = 32, bytes_: int = 256
    ) -> None:
        self.history, self.port, self.path, self.rate = history, port, path, rate
        self.sent = 0
        self._stopped = False
        self._data = b'{"n":"' + b"x" * (bytes_ - 8) + b'"}'
        self._next = 0
        self._workers = [asyncio.create_task(self._work()) for _ in range(connections)]
        self._began = time.monotonic()

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._workers)

    def _due(self) -> tuple[int, float]:
        number, self._next = self._next, self._next + 1
        return number, self._began + number / self.rate

    async def _work(self) -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while not self._stopped:
            number, due = self._due()
            late = time.monotonic() - due
            if late < 0:
                await asyncio.sleep(-late)
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
            assert reader is not None
            id_ = f"e{number}"
            head = (
                f"POST {self.path} HTTP/1.1\r\nhost: b\r\nce-specversion: 1.0\r\nce-id: {id_}\r\nce-source: /producer\r\n"
                f"ce-type: dev.example.order\r\ncontent-type: application/json\r\ncontent-length: {len(self._data)}\r\n\r\n"
            )
            try:
                writer.write(head.encode() + self._data)
                self.sent += 1
                status = await _status(reader)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.history.unclear.add(id_)
                writer.close()
                writer = None
                continue
            if status == 202:
                self.history.acknowledged[id_] = time.time()
            else:
                self.history.refused[status] += 1
                self.history.unclear.add(id_)  # a 503 after a deadline may have been written all the same
                await asyncio.sleep(0.02)
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        await reader.readexactly(int(lower[at + 17 :].partition(b"\r\n")[0]))
    if b"\r\nconnection: close" in lower and status != 202:
        raise ValueError("closed")
    return status
