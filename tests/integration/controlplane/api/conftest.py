"""The API on a port of its own, and an HTTP client with the token."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from controlplane.api.app import make_app, make_runner
from controlplane.knative_config import KnativeConfig
from controlplane.store.contract import Key, Put
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore
from dataplane.clock import SYSTEM
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta
from tests.integration.controlplane.api.client import Api


class NoLogs:
    async def read(self, *_: object, **__: object):
        for piece in ():
            yield piece


@pytest.fixture(params=["memory", "sqlite"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Api]:
    sqlite = request.param == "sqlite"
    store = SqliteStore(tmp_path / "s.db", history_max=500) if sqlite else MemoryStore(history_max=500)
    for name in ("default", "knative-serving"):
        await store.commit([Put(Key("", "Namespace", "", name), core.Namespace(metadata=ObjectMeta(name=name)), "")])

    async def extra(_: web.Request) -> web.Response:
        return web.json_response({"extra": True})

    async def unready(_: web.Request) -> web.Response:
        return web.Response(text="[-]pods failed", status=503)

    app = make_app(
        store=store,
        config=KnativeConfig,
        clock=SYSTEM,
        token="token",
        logs=NoLogs(),
        extra_routes=[web.get("/dataplane/v1/extra", extra), web.get("/readyz", unready)],
    )
    runner = make_runner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}".format(*runner.addresses[0][:2])
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer token"}, read_bufsize=2**20) as session:
        yield Api(store, runner, url, session)
    await runner.cleanup()
    await store.close()
