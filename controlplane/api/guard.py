"""Who may ask: this machine, with the token, and never a web page. And how everything that is raised is answered.

Path: socket → [guard] → every route of the app, ours and those that the composition root adds.

A local API that any program can reach is reachable from every web page the user opens: DNS rebinding shows up in
`Host`, cross-site requests in `Origin`. Both are refused before the token is looked at. Health and metrics need no
token, so that probes and Prometheus work, here as on the admin port.

Go's Kubernetes client never sends a kubeconfig's token without TLS. So the kubeconfig has it in the server's URL, too,
from where every HTTP client makes Basic authentication (`controlplane.api.kubeconfig`).

Source: design/ecosystem.md §2.4; Kubernetes "Status" errors.
"""

import base64
import hmac
import ipaddress
import logging

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from controlplane.api import status

log = logging.getLogger(__name__)

OPEN = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def guard(token: str) -> Middleware:
    """Refuses other machines, other hosts' pages (403) and whoever does not know the token (401)."""
    assert token, "an API without a token is open to every local user"
    expected = token.encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _local(request.remote):
            raise status.forbidden("only this machine may use this API")
        if _name(request.headers.get(hdrs.HOST, "")) not in NAMES:
            raise status.forbidden("the Host header must name this machine: localhost, 127.0.0.1 or [::1]")
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin != f"{request.scheme}://{request.headers[hdrs.HOST]}":
            raise status.forbidden("requests from web pages are refused")
        if request.path not in OPEN:
            given = _token(request.headers.get(hdrs.AUTHORIZATION, ""))
            if not hmac.compare_digest(given, expected):
                raise status.unauthorized()
        return await handler(request)

    return check


@web.middleware
async def answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The root of a request: what was raised becomes a Status; a bug becomes 500 and a log line."""
    try:
        return await handler(request)
    except Exception as error:
        answer = status.of(error)
        if answer is None:
            if isinstance(error, (web.HTTPException, ConnectionError)):
                raise
            log.exception("api_failed method=%s path=%s", request.method, request.path)
            answer = status.ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}")
        headers = {hdrs.WWW_AUTHENTICATE: "Bearer"} if answer.code == 401 else None
        return web.Response(
            body=msgspec.json.encode(answer.body()),
            status=answer.code,
            headers=headers,
            content_type="application/json",
        )


def _local(remote: str | None) -> bool:
    """None and "": a Unix socket."""
    if not remote:
        return True
    try:
        return ipaddress.ip_address(remote.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _token(header: str) -> bytes:
    """Bearer; or the password of Basic, whoever the user is."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            pass
    return b""


def _name(host: str) -> str:
    """Host header without the port."""
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0].lower()
