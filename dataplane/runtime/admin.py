"""The admin port of a process: metrics, health, and what snapshot it serves.

Path: Prometheus, kubelet, operators → [admin] → telemetry registry, named checks, the present snapshot.

It is a listener of its own, on loopback unless told otherwise, so that a flood on the data path does not hide the
numbers. On loopback the Host header must name this machine: otherwise any web page could read it by DNS rebinding.

Source: design/ecosystem.md §3.1, §3.2.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from dataplane.errors import ConfigFault
from dataplane.resources.snapshot import Snapshot
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

Check = Callable[[], str]
"""A named readiness check: "" when fine, otherwise why not. Answers at once, never raises."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Admin:
    """The listener. `address` is `host:port`, port 0 = any; after `start`, `port` is the real one.

    checks: read at each request, so components may add theirs later. snapshot: the present one, None = none yet.
    """

    def __init__(
        self,
        *,
        address: str,
        registry: Registry,
        checks: Mapping[str, Check],
        snapshot: Callable[[], Snapshot | None] = lambda: None,
    ) -> None:
        self._host, self._port = split_address(address)
        self._app = make_app(registry=registry, checks=checks, snapshot=snapshot, guarded=self._host in _LOOPBACK)
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises OSError when the address is taken."""
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        log.info("admin_listening host=%s port=%d", self._host, self._port)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


def make_app(
    *, registry: Registry, checks: Mapping[str, Check], snapshot: Callable[[], Snapshot | None], guarded: bool
) -> web.Application:
    """The application alone, for whoever has a listener already. `guarded`: refuse foreign Host headers (403)."""

    async def dump(_: web.Request) -> web.Response:
        present = snapshot()
        if present is None:
            return web.json_response({"error": "no snapshot yet"}, status=404)
        return web.Response(body=msgspec.json.encode(_without_secrets(present)), content_type="application/json")

    app = web.Application(middlewares=[_only_local] if guarded else [])
    app.add_routes([*health_routes(registry=registry, checks=checks), web.get("/snapshot", dump)])
    return app


def _without_secrets(snapshot: Snapshot) -> Snapshot:
    hidden = {
        key: msgspec.structs.replace(one, secret=dict.fromkeys(one.secret, "…"))
        for key, one in snapshot.brokers.items()
        if one.secret
    }
    return msgspec.structs.replace(snapshot, brokers={**snapshot.brokers, **hidden}) if hidden else snapshot


def health_routes(*, registry: Registry, checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """/metrics, /livez, /readyz, /healthz: for whoever has an application of its own."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=registry.render().encode(), headers={"Content-Type": _TEXT})

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")  # the loop turned, which is all that liveness means

    async def readyz(request: web.Request) -> web.Response:
        return ready_answer(checks, verbose="verbose" in request.query)

    return [
        web.get("/metrics", metrics),
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/healthz", readyz),
    ]


def ready_answer(checks: Mapping[str, Check], *, verbose: bool) -> web.Response:
    """200 `ok` or 503, in the words of a Kubernetes API server: `[+]name ok`, `[-]name failed: why`."""
    found = {name: check() for name, check in checks.items()}
    failed = any(found.values())
    if not verbose and not failed:
        return web.Response(text="ok")
    lines = [f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in found.items()]
    lines.append("readyz check failed" if failed else "readyz check passed")
    return web.Response(text="\n".join(lines) + "\n", status=503 if failed else 200)


def split_address(address: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `[::1]:8080`, `:8080` (loopback) → host and port. Raises ConfigFault."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigFault(f"address {address!r}: expected HOST:PORT, for example 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


@web.middleware
async def _only_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    host = (request.headers.get("Host") or "").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name not in _LOOPBACK:
        return web.Response(text="this port answers to localhost only\n", status=403)
    return await handler(request)
