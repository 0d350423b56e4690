"""The API as one aiohttp application: every route, behind one guard.

Path: launch → [app] → guard → objects | watch | logs | discovery | openapi | bulk | what launch adds.

`aiohttp` does not tell a handler that its client has gone unless the runner cancels it: `make_runner` is how this app
is to be served, or idle watches live on until they time out.

Source: design/ecosystem.md §2.4.
"""

from collections.abc import Callable, Iterable

from aiohttp import web

from controlplane import strict
from controlplane.api import discovery, openapi
from controlplane.api.bulk import Bulk
from controlplane.api.guard import answers, guard
from controlplane.api.logs import LogReader, Logs
from controlplane.api.objects import Objects
from controlplane.api.watch import Watches
from controlplane.api.writes import Writes
from controlplane.knative_config import KnativeConfig
from controlplane.store.contract import Store
from dataplane.clock import Clock
from dataplane.resources.kinds import KINDS

SHUTDOWN_S = 5.0  # for requests that run when the server stops
URL_BYTES_MAX = 32 * 1024  # selectors travel in the URL

HEALTH = ("/livez", "/readyz", "/healthz")

BULK = web.AppKey("bulk", Bulk)  # the same all-or-nothing apply for whoever is in the process


def make_app(
    *,
    store: Store,
    config: Callable[[], KnativeConfig],
    clock: Clock,
    token: str,
    logs: LogReader,
    extra_routes: Iterable[web.AbstractRouteDef] = (),
) -> web.Application:
    """`config`: the Knative configuration in force, asked for at each write. `token`: what `Authorization: Bearer` must
    say. `extra_routes`: under /dataplane/v1/, and /metrics and health; behind the same guard.
    """
    strict.prepare(kind.struct for kind in KINDS)
    writes = Writes(store=store, config=config, clock=clock)
    watches = Watches(store=store, clock=clock)
    follows = Logs(store=store, reader=logs, clock=clock)
    objects = Objects(store=store, writes=writes, watches=watches, logs=follows, clock=clock)
    bulk = Bulk(store=store, writes=writes)

    app = web.Application(middlewares=[answers, guard(token)])
    app[BULK] = bulk
    app.add_routes(discovery.routes())
    app.add_routes(openapi.routes())
    app.add_routes([web.post("/dataplane/v1/apply", bulk.handle)])
    app.add_routes(extra_routes)
    known = {resource.canonical for resource in app.router.resources()}  # those of `extra_routes` know more
    app.add_routes([web.get(path, _ok) for path in HEALTH if path not in known])
    app.router.add_route("*", "/api/{version}/{tail:.+}", objects.handle)
    app.router.add_route("*", "/apis/{group}/{version}/{tail:.+}", objects.handle)

    async def end_streams(_: web.Application) -> None:
        watches.close()
        follows.close()

    app.on_shutdown.append(end_streams)
    return app


def make_runner(app: web.Application) -> web.AppRunner:
    """Cancels the handler of a client that has gone; no access log; a bounded time for the last requests."""
    return web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=URL_BYTES_MAX,
        handle_signals=False,
    )


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")
