"""Gateway → activator → queue-proxy → app: the hops meet on the wire."""

import asyncio

import pytest

from activator.admission import Activator
from activator.hold import HoldSettings
from dataplane.net.engine import Engine
from dataplane.resources.snapshot import Endpoint, Path, Revision, Route, Rule, Snapshot, Split
from dataplane.telemetry.metrics import Registry
from gateway.accept import Gateway
from gateway.settings import GatewaySettings

HOST = "hello.default.localhost"


@pytest.fixture
async def make_gateway():
    """Port of a gateway whose only pod is the endpoint with this identity at this port, behind a queue-proxy."""
    made = []

    async def make(identity: str, port: int, timeout_s: float = 5.0) -> int:
        loop = asyncio.get_running_loop()
        engine = Engine(loop=loop, registry=Registry())
        activator = Activator(engine=engine, settings=HoldSettings())
        gateway = Gateway(engine=engine, admission=activator, settings=GatewaySettings())
        endpoint = Endpoint(id=identity, address=f"127.0.0.1:{port}", sidecar=True)
        revision = Revision(
            namespace="default", name="hello-00001", service="hello", endpoints=(endpoint,), timeout_s=timeout_s
        )
        rule = Rule(hosts=(HOST,), paths=(Path(splits=(Split(revision="default/hello-00001"),)),))
        snapshot = Snapshot(
            generation=1,
            routes={"default/hello": Route(namespace="default", name="hello", rules=(rule,), hash="h")},
            revisions={"default/hello-00001": revision},
        )
        activator.apply(snapshot)
        gateway.apply(snapshot)
        _, listening = await gateway.listen("127.0.0.1", 0)
        made.append((gateway, activator, engine))
        return listening

    yield make
    loop = asyncio.get_running_loop()
    for gateway, activator, engine in made:
        listeners = list(gateway._listeners)
        for listener in listeners:
            await listener.drain(deadline=loop.time())
            await listener.drain(deadline=loop.time() + 1)
        activator.apply(Snapshot())
        await engine.close()


async def get(port: int, fields: str = "") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET / HTTP/1.1\r\nhost: {HOST}\r\n{fields}connection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    return data


async def test_a_request_goes_through_both_and_is_counted_as_proxied(stand, make_gateway, app):
    port = await make_gateway("pod-1", stand.port)
    assert (await get(port, "k-original-host: evil\r\nforwarded: for=evil\r\n")).endswith(b"ok")
    head = app.heads[0].lower()
    assert b"\r\nhost: hello.default.localhost\r\n" in head
    assert b"evil" not in head
    assert b"\r\nk-" not in head
    stand.proxy.traffic.on_timer(stand.loop.time())
    assert stand.proxy.traffic.last.proxied_requests > 0


async def test_AC_04_a_pod_that_answers_under_another_name_gets_nothing(stand, make_gateway, app):
    port = await make_gateway("pod-2", stand.port, timeout_s=0.6)
    assert (await get(port)).startswith(b"HTTP/1.1 504 ")
    assert app.heads == []
