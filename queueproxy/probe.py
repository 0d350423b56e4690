"""Is the app ready? Asked on behalf of the kubelet and the activator; askers at the same time share one run.

Path: accept.py → [probe] → the app on localhost.

All checks run side by side and all must pass. Nothing is cached: each run asks the app itself, so that a pod which
stops being ready is found out by the next probe.

Source: spec/serving.md §9.8, §16.11.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from dataplane.errors import UpstreamProtocol
from dataplane.net.tasks import Tasks
from dataplane.wire.headers import from_upstream
from dataplane.wire.http1_response import ResponseReader
from queueproxy.checks import Check

log = logging.getLogger(__name__)

RETRY_S = 0.05
PATIENCE_S = 10.0  # of an aggressive check
REDIRECTS_MAX = 10
BODY_BYTES_MAX = 10 * 1024  # read before hanging up, so that the app sees no reset

_FIELDS = from_upstream()


class Asker(Protocol):
    """Called exactly once, later, unless `forget` came first."""

    def on_readiness(self, why_not: str) -> None:
        """`why_not` is empty when the app is ready."""
        ...


class Readiness:
    """One app."""

    def __init__(self, *, checks: Iterable[Check], loop: asyncio.AbstractEventLoop, tasks: Tasks) -> None:
        self._checks = tuple(checks)
        self._loop = loop
        self._tasks = tasks
        self._askers: dict[Asker, None] = {}
        self._running = False
        self._said = ""

    def ask(self, asker: Asker) -> None:
        """Joins the run that is under way, or starts one."""
        self._askers[asker] = None
        if not self._running:
            self._running = True
            self._tasks.spawn(self._run(), "readiness")

    def forget(self, asker: Asker) -> None:
        """The asker left. The run goes on: the next asker will want its result."""
        self._askers.pop(asker, None)

    # ---- one run --------------------------------------------------------------------------------

    async def _run(self) -> None:
        why_not = "the probe was interrupted"
        try:
            results = await asyncio.gather(*(self._check(check) for check in self._checks))
            why_not = next(filter(None, results), "")
        finally:
            self._running = False
            askers, self._askers = self._askers, {}
            for asker in askers:
                asker.on_readiness(why_not)
        if why_not != self._said:
            self._said = why_not
            log.info("app_ready" if not why_not else "app_not_ready why=%s", *([why_not] if why_not else []))

    async def _check(self, check: Check) -> str:
        now = self._loop.time()
        if check.kind == "unsupported":
            return check.why
        if not check.aggressive:
            return await self._try(check, now + check.timeout_s)
        deadline = now + PATIENCE_S
        passed = 0
        while True:
            why_not = await self._try(check, min(self._loop.time() + check.timeout_s, deadline))
            passed = 0 if why_not else passed + 1
            if passed >= check.successes:
                return ""
            left_s = deadline - self._loop.time()
            if left_s <= 0:
                return why_not or f"passed {passed} of {check.successes} times in a row"
            await asyncio.sleep(min(RETRY_S, left_s))

    async def _try(self, check: Check, deadline: float) -> str:
        try:
            async with asyncio.timeout_at(deadline):
                if check.kind == "tcp":
                    return await self._connect(check)
                return await self._get(check)
        except TimeoutError:
            return f"no answer within {check.timeout_s:g} s"
        except UpstreamProtocol:
            return "the answer is not HTTP"
        except (OSError, ValueError) as error:
            return str(error) or type(error).__name__

    async def _connect(self, check: Check) -> str:
        transport, _ = await self._loop.create_connection(asyncio.Protocol, check.host, check.port)
        transport.close()
        return ""

    async def _get(self, check: Check) -> str:
        """200 to 399 passes. Redirects within the host are followed; one that leads away is an answer like any."""
        port, tls, target = check.port, check.tls, check.target
        for _ in range(REDIRECTS_MAX):
            status, location = await _fetch(check, port, tls, target)
            if status not in (301, 302, 303, 307, 308) or not location:
                return "" if 200 <= status < 400 else f"HTTP status {status}"
            base = f"{'https' if tls else 'http'}://{_bracketed(check.host)}:{port}{target.decode()}"
            there = urlsplit(urljoin(base, location))
            if there.hostname != check.host or there.scheme not in ("http", "https"):
                return ""
            tls = there.scheme == "https"
            port = there.port or (443 if tls else 80)
            target = (there.path or "/").encode() + (b"?" + there.query.encode() if there.query else b"")
        return f"stopped after {REDIRECTS_MAX} redirects"


async def _fetch(check: Check, port: int, tls: bool, target: bytes) -> tuple[int, str]:
    """(status, Location) of one GET on a connection of its own."""
    reader, writer = await asyncio.open_connection(check.host, port, ssl=_any_certificate() if tls else None)
    try:
        writer.write(b"GET %b HTTP/1.1\r\n%bconnection: close\r\n\r\n" % (target, check.headers))
        response = ResponseReader(_FIELDS)
        size_bytes = 0
        while not response.complete and size_bytes < BODY_BYTES_MAX:
            data = await reader.read(16 * 1024)
            if not data:
                if response.head_done:
                    break
                raise ConnectionError("closed before an answer")
            response.feed(data)
            if response.head_done:
                size_bytes += len(data)
                response.body.clear()
    finally:
        writer.close()
    return response.status, _location(response.out)


def _location(out: list[bytes]) -> str:
    for i in range(0, len(out), 4):
        if out[i].lower() == b"location":
            return out[i + 2].decode("latin-1")
    return ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _any_certificate() -> ssl.SSLContext:
    """As the kubelet: a probe proves that the app answers, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
