"""Going away (§9.10) with the process's own order of things, on real sockets."""

import asyncio
import contextlib

import pytest

from dataplane.clock import Clock
from dataplane.net.tasks import Tasks
from dataplane.telemetry.metrics import Registry
from queueproxy.checks import Check
from queueproxy.service import Sidecar
from queueproxy.settings import QueueProxySettings

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


@pytest.fixture
async def make_sidecar(app):
    made: list[Sidecar] = []

    async def make(**changed: object) -> Sidecar:
        loop = asyncio.get_running_loop()
        settings = QueueProxySettings(
            user_port=app.port,
            port=0,
            admin_port=0,
            metrics_port=0,
            pod="pod-1",
            readiness=(Check(port=app.port),),
            **{"quiet_s": 0.2, **changed},
        )
        clock = Clock(monotonic=loop.time, wall=lambda: 0.0)
        sidecar = Sidecar(settings=settings, loop=loop, registry=Registry(), clock=clock)
        await sidecar.start()
        made.append(sidecar)
        return sidecar

    yield make
    for sidecar in made:
        await sidecar.proxy.listener.drain(deadline=0)
        await sidecar.close()
        await sidecar.proxy.listener.drain(deadline=asyncio.get_running_loop().time() + 1)


@pytest.fixture
async def spawn():
    tasks = Tasks("test")
    yield lambda work: tasks.spawn(work, "work")
    await tasks.close()


async def ask(address: tuple[str, int], target: str = "/", fields: str = "", *, keep: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    end = "" if keep else "connection: close\r\n"
    writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n{fields}{end}\r\n".encode())
    data = await reader.read()
    writer.close()
    return data


async def until(holds) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def refused(address: tuple[str, int]) -> bool:
    with contextlib.suppress(ConnectionError):
        _, writer = await asyncio.open_connection(*address)
        writer.close()
        return False
    return True


async def test_while_it_drains_probes_fail_requests_are_served_and_connections_end(make_sidecar, spawn):
    sidecar = await make_sidecar(quiet_s=1.5)  # a busy machine may be that late with the next request
    stopping = spawn(sidecar.stop())
    await until(lambda: sidecar.proxy.drain.draining)
    probe = await ask(sidecar.address, "/", "user-agent: kube-probe/1\r\nk-network-probe: queue\r\n")
    assert probe.endswith(b"shutting down\n")
    assert b"connection: close" in await ask(sidecar.address, keep=True)
    await stopping
    assert await refused(sidecar.address)


async def test_every_request_begins_the_quiet_time_anew(make_sidecar, spawn):
    sidecar = await make_sidecar(quiet_s=1.5)  # ten times the pause between requests: a busy machine may be late
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = spawn(sidecar.stop())
    for _ in range(4):
        await asyncio.sleep(0.15)
        assert (await ask(sidecar.address)).endswith(b"ok")
    await stopping
    assert loop.time() - began >= 4 * 0.15 + 1.5


async def test_a_request_in_flight_is_finished(make_sidecar, spawn, app):
    release = asyncio.Event()

    async def slow(reader, writer, head):
        await release.wait()
        writer.write(OK)

    app.answer = slow
    sidecar = await make_sidecar(quiet_s=0.1)
    request = asyncio.create_task(ask(sidecar.address))
    await until(lambda: app.running == 1)
    stopping = spawn(sidecar.stop())
    async with asyncio.timeout(30):
        while not await refused(sidecar.address):
            await asyncio.sleep(0.2)  # longer than the quiet time, which each try begins anew
    release.set()
    assert (await request).endswith(b"ok")
    await stopping


async def test_an_idle_connection_does_not_hold_the_drain_up(make_sidecar):
    sidecar = await make_sidecar(quiet_s=0.05)
    reader, writer = await asyncio.open_connection(*sidecar.address)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"ok")
    async with asyncio.timeout(30):
        await sidecar.stop()
    assert await reader.read() == b""
    writer.close()


async def test_websockets_are_waited_for_and_then_cut(make_sidecar, app):
    async def echo(reader, writer, head):
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        while data := await reader.read(1024):
            writer.write(data)

    app.answer = echo
    sidecar = await make_sidecar(quiet_s=0.05, tunnels_s=1.5)
    reader, writer = await asyncio.open_connection(*sidecar.address)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping = asyncio.create_task(sidecar.stop())
    await asyncio.sleep(0.2)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    await stopping
    assert loop.time() - began >= 1.5
    assert await reader.read() == b""
    await until(lambda: app.closed == 1)  # its other end as well
    assert sidecar.proxy.drain.in_flight == 0
    writer.close()


async def test_the_hook_returns_when_the_drain_is_over(make_sidecar, spawn, app):
    release = asyncio.Event()

    async def slow(reader, writer, head):
        await release.wait()
        writer.write(OK)

    app.answer = slow
    sidecar = await make_sidecar(quiet_s=0.1)
    over: list[str] = []
    request = asyncio.create_task(ask(sidecar.address))
    request.add_done_callback(lambda _: over.append("request"))
    await until(lambda: app.running == 1)
    hook = asyncio.create_task(ask(sidecar.side_addresses["admin"], "/wait-for-drain", keep=True))
    hook.add_done_callback(lambda _: over.append("hook"))
    await until(lambda: sidecar.proxy.drain.draining)
    stopping = spawn(sidecar.stop())  # SIGTERM, within a second of the hook
    await asyncio.sleep(0.3)  # longer than the quiet time
    assert over == []
    release.set()
    assert (await request).endswith(b"ok")
    assert (await hook).startswith(b"HTTP/1.1 200 ")
    assert over == ["request", "hook"]
    await stopping


async def test_a_hook_without_sigterm_is_undone_after_a_second(make_sidecar):
    sidecar = await make_sidecar()
    loop = asyncio.get_running_loop()
    began = loop.time()
    hook = asyncio.create_task(ask(sidecar.side_addresses["admin"], "/wait-for-drain"))
    await until(lambda: sidecar.proxy.drain.draining)
    assert (await hook).startswith(b"HTTP/1.1 200 ")
    assert loop.time() - began >= 1
    assert not sidecar.proxy.drain.draining
    probe = await ask(sidecar.address, "/", "user-agent: kube-probe/1\r\nk-network-probe: queue\r\n")
    assert probe.endswith(b"queue")


async def test_the_admin_port_knows_only_the_hook(make_sidecar):
    sidecar = await make_sidecar()
    assert (await ask(sidecar.side_addresses["admin"], "/other")).startswith(b"HTTP/1.1 404 ")
    assert not sidecar.proxy.drain.draining


async def test_the_metrics_port_speaks_text_and_protobuf(make_sidecar):
    sidecar = await make_sidecar()
    address = sidecar.side_addresses["metrics"]
    await ask(sidecar.address)
    text = await ask(address, "/metrics")
    assert b"text/plain; version=0.0.4" in text
    assert b"kn_serving_invocation_duration_seconds_bucket{" in text
    assert b"kn_serving_queue_depth{" in text
    message = await ask(address, "/metrics", "accept: application/protobuf\r\n")
    assert b"content-type: application/protobuf\r\n" in message
    assert message.partition(b"\r\n\r\n")[2] == b"\x0a\x05pod-1"
    assert (await ask(address, "/else")).startswith(b"HTTP/1.1 404 ")
