"""With sidecars, a queue-proxy stands in front of the container and says when it is ready."""

import asyncio

import pytest

from controlplane.store.contract import Key, Put
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Revision, RevisionSpec

SIDECARS = pytest.mark.parametrize("node", [{"sidecars": True}], indirect=True)


async def _revision(node, **spec: int) -> None:
    key = Key("serving.knative.dev", "Revision", "default", "hello-00001")
    meta = ObjectMeta(name="hello-00001", namespace="default", uid="r")
    await node.store.commit([Put(key, Revision(metadata=meta, spec=RevisionSpec(**spec)), "")])


@SIDECARS
async def test_requests_go_through_the_queue_proxy(node, fetch):
    await _revision(node, container_concurrency=3, timeout_seconds=7)
    key = await node.start(node.served())
    await node.ready(key)
    (endpoint,) = node.endpoints()

    assert endpoint.sidecar
    assert await fetch(endpoint.address) == "Hello World!\n"
    (process,) = node.driver.started
    user, proxy = process.containers
    assert proxy.name == "queue-proxy"
    assert endpoint.address == f"127.0.0.1:{proxy.env['QUEUE_SERVING_PORT']}"
    assert {
        name: proxy.env[name]
        for name in ("USER_PORT", "CONTAINER_CONCURRENCY", "REVISION_TIMEOUT_SECONDS", "SERVING_POD")
    } == {
        "USER_PORT": user.env["PORT"],
        "CONTAINER_CONCURRENCY": "3",
        "REVISION_TIMEOUT_SECONDS": "7",
        "SERVING_POD": process.uid,
    }
    assert [s.name for s in node.status(key).container_statuses] == ["user-container"]


@SIDECARS
async def test_the_pod_is_ready_only_when_the_app_is(node):
    app = node.program("""
        import os, socket, time
        while not os.path.exists("go"):
            time.sleep(0.01)
        listener = socket.socket()
        listener.bind(("127.0.0.1", int(os.environ["PORT"])))
        listener.listen()
        time.sleep(1000)
    """)
    key = await node.start(node.served(image="x", command=app))
    await node.until(lambda: [c.state for r in node.driver.reports() for c in r.containers] == ["running"] * 2)
    await asyncio.sleep(1.0)
    assert not node.endpoints()

    (node.folder / "go").touch()
    await node.ready(key)


@SIDECARS
async def test_a_pod_with_a_sidecar_leaves_without_waiting_for_its_quiet_time(node):
    key = await node.start(node.served())
    await node.ready(key)
    await node.remove(key, grace_s=300)
    async with asyncio.timeout(15):
        await node.gone(key)
