"""A poke that is lost between the hops: the request at zero is answered all the same, by the next report."""

import asyncio

import pytest
from aiohttp import ClientSession, WSMsgType, web

from dataplane.wire.stats import decode
from tests.e2e.services import Api, service, until
from tests.e2e.test_autoscaler_killed import COLD, autoscaler
from tests.openloop import Load, get
from tests.ports import free_port

__all__ = ["autoscaler"]


class LossyLink:
    """Stands between reporters and the autoscaler. `swallow`: frames with a poke that still go nowhere, unanswered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.swallow = 0
        self.swallowed = self.passed = 0

    async def start(self) -> str:
        app = web.Application()
        app.router.add_get("/stats", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        kept = {name: request.headers[name] for name in ("Authorization", "x-dp-reporter") if name in request.headers}
        url = f"http://127.0.0.1:{self._port}/stats"
        async with ClientSession() as session, session.ws_connect(url, headers=kept) as far:
            back = asyncio.create_task(self._back(far, near))
            async for message in near:
                if message.type is WSMsgType.BINARY and not self._loses(message.data):
                    await far.send_bytes(message.data)
            back.cancel()
        return near

    def _loses(self, frame: bytes) -> bool:
        if not any(stat.poke for stat in decode(frame)):
            return False
        if self.swallow:
            self.swallow -= 1
            self.swallowed += 1
            return True
        self.passed += 1
        return False

    async def _back(self, far, near) -> None:
        async for message in far:
            if message.type is WSMsgType.BINARY:
                await near.send_bytes(message.data)


@pytest.mark.slow
async def test_a_request_at_zero_whose_pokes_are_lost_is_served_by_the_first_that_arrives(start, autoscaler):
    port = free_port()
    link = LossyLink(port)
    url = await link.start()
    up = await asyncio.to_thread(start, "--autoscaler", url)
    api = Api(up.api, up.token)
    await asyncio.to_thread(autoscaler, up, port)
    await asyncio.to_thread(api.create, service("cold", **COLD))
    await asyncio.to_thread(api.ready, "cold")
    await asyncio.to_thread(until, lambda: not api.pods("cold"), "cold is at zero", 40)

    link.swallow, link.passed = 2, 0
    async with Load(up.port, lambda number: get("cold.default.localhost")) as cold:
        cold.shoot()
        await cold.settle(30)
        print("\n", cold.summary())
        assert cold.statuses() == {"200": 1}
    assert link.swallowed == 2
    assert link.passed >= 1
    await asyncio.to_thread(up.stop)
    await link.stop()
    api.close()
