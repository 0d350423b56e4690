"""Reports reach the autoscaler over the link: real WebSocket, real frames, real identity."""

import asyncio

import pytest
from aiohttp import WSMsgType, web

from dataplane.runtime.reporting import PATH
from dataplane.wire.stats import Stat, decode
from queueproxy.service import run
from tests.ports import free_port


@pytest.fixture
async def autoscaler():
    """(port, stats it got, authorizations it saw)."""
    got: list[Stat] = []
    seen: list[str] = []

    async def stats(request):
        seen.append(request.headers.get("Authorization", ""))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                got.extend(decode(message.data))
        return socket

    application = web.Application()
    application.router.add_get(PATH, stats)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], got, seen
    await runner.cleanup()


async def test_load_is_reported_with_the_part_that_an_activator_has_counted(autoscaler, app):
    port, got, seen = autoscaler
    release = asyncio.Event()

    async def held(reader, writer, head):
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    app.answer = held
    serving = free_port()
    stop = asyncio.Event()
    environ = {
        "USER_PORT": str(app.port),
        "QUEUE_SERVING_PORT": str(serving),
        "QUEUE_ADMIN_PORT": "0",
        "QUEUE_METRICS_PORT": "0",
        "SERVING_NAMESPACE": "default",
        "SERVING_REVISION": "hello-00001",
        "SERVING_POD": "uid-7",
        "DRAIN_QUIET_S": "0",
        "AUTOSCALER_URL": f"ws://127.0.0.1:{port}",
        "AUTOSCALER_TOKEN": "t0ken",
    }
    running = asyncio.create_task(run(environ, stop))
    clients = []
    async with asyncio.timeout(60):
        while not clients:
            try:
                clients.append(await asyncio.open_connection("127.0.0.1", serving))
            except ConnectionError:
                await asyncio.sleep(0.02)
        clients.append(await asyncio.open_connection("127.0.0.1", serving))
        clients[0][1].write(b"GET / HTTP/1.1\r\nhost: x\r\nk-proxy-request: activator\r\n\r\n")
        clients[1][1].write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while not any(s.concurrency > 1.9 for s in got):
            await asyncio.sleep(0.02)
        full = next(s for s in got if s.concurrency > 1.9)
        assert (full.revision, full.reporter) == ("default/hello-00001", "uid-7")
        assert 0.9 < full.proxied_concurrency <= 1.0
        release.set()
        while not (got[-1].concurrency == got[-1].requests == 0):
            await asyncio.sleep(0.02)
        assert seen == ["Bearer t0ken"]
        stop.set()
        assert await running == 0
    for _, writer in clients:
        writer.close()
