"""Calls over TLS: the same promise as net/call.py, through aiohttp, a task per call.

Path: broker/deliver.py → call.py → [call_secure] → https subscriber.

Slower than the plain door and allowed to be: handshakes, certificates and session reuse are a library's business.

Source: spec/eventing.md §9.1, §10.5 (CACerts), §17; reliability.md BR-13.
"""

import asyncio
import ssl

import aiohttp

from dataplane.errors import (
    ConfigFault,
    ConnectFailed,
    UpstreamFault,
    UpstreamProtocol,
    UpstreamReset,
    UpstreamTimeout,
)
from dataplane.net.call import Call
from dataplane.net.engine import Engine
from dataplane.wire.destination import Destination
from dataplane.wire.headers import HEAD_BYTES_MAX

CONNECT_TIMEOUT_S = 5.0  # reliability.md GW-26: a TLS handshake takes ≤ 5 s
_FRAMING = frozenset((b"host", b"content-length", b"connection", b"transfer-encoding", b"keep-alive"))


class SecureLine:
    """Calls to one https destination. Connections are kept by a session of its own."""

    def __init__(
        self,
        engine: Engine,
        destination: Destination,
        *,
        timeout_s: float,
        answer_bytes_max: int,
        repeatable: bool,
        ca_certs: str = "",
    ) -> None:
        self._engine = engine
        self._url = f"https://{destination.authority.decode()}{destination.target.decode()}"
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._repeatable = repeatable
        self._open: dict[Call, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._address = "127.0.0.1" if destination.origin()[0] == "127.0.0.1" else ""
        self._tls = ssl.create_default_context()
        if ca_certs:
            try:
                self._tls.load_verify_locations(cadata=ca_certs)
            except (ssl.SSLError, ValueError) as error:
                raise ConfigFault(f"CA certificates for {destination.url}: {error}; PEM is expected") from None

    def __len__(self) -> int:
        return len(self._open)

    def send(self, call: Call, data: bytes) -> None:
        call.deadline = self._engine.clock() + self._timeout_s
        self._open[call] = self._engine.tasks.spawn(self._run(call, data), f"call {self._url}")

    def cancel(self, call: Call) -> None:
        task = self._open.pop(call, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        for call in list(self._open):
            self.cancel(call)
        session, self._session = self._session, None
        if session is not None:
            self._engine.tasks.spawn(session.close(), f"close {self._url}")

    async def _run(self, call: Call, data: bytes) -> None:
        try:
            async with asyncio.timeout_at(call.deadline):
                try:
                    await self._exchange(call, data)
                except aiohttp.ServerDisconnectedError:
                    if not (self._repeatable and call.may_repeat()):
                        raise
                    await self._exchange(call, data)  # a kept connection that ended meanwhile
        except aiohttp.ConnectionTimeoutError:
            call.error = ConnectFailed("i/o timeout")
        except TimeoutError:
            call.error = UpstreamTimeout(f"no answer within {self._timeout_s:g} s")
        except Exception as error:  # aiohttp raises more than it says, and who waits must hear: at least once
            call.error = _mapped(error)
        if self._open.pop(call, None) is not None:
            call.on_answer()

    async def _exchange(self, call: Call, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        headers = [(n.decode(), v.decode("latin-1")) for n, _, v in lines if n.lower() not in _FRAMING]
        session = self._session
        if session is None:
            session = self._session = self._new_session()
        request = session.post(self._url, data=body, headers=headers, allow_redirects=False, ssl=self._tls)
        async with request as response:
            pieces, size = [], 0
            async for piece in response.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > self._answer_bytes_max:
                    call.too_large = True
                    response.close()
                    break
            call.status = response.status
            call.fields = [(n, v) for n, v in response.raw_headers if n.lower() not in _FRAMING]
            call.body = b"".join(pieces)[: self._answer_bytes_max]

    def _new_session(self) -> aiohttp.ClientSession:
        resolver = _Here() if self._address else None
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=resolver),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_field_size=HEAD_BYTES_MAX,  # a reply's attribute, as through the plain door
            auto_decompress=False,
            skip_auto_headers=("content-type", "accept", "accept-encoding", "user-agent"),
        )


class _Here(aiohttp.abc.AbstractResolver):
    """`*.localhost` is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[aiohttp.abc.ResolveResult]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...


def _mapped(error: Exception) -> UpstreamFault:
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectFailed(f"connect: {error.os_error}")
    if isinstance(error, aiohttp.ClientSSLError | UnicodeError):  # UnicodeError: a name with an empty or long label
        return ConnectFailed(f"connect: {error}")
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamProtocol(str(error))
    return UpstreamReset(str(error) or type(error).__name__)
