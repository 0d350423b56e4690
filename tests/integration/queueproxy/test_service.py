"""The queue-proxy as a process of its own: started from an environment, told to go by SIGTERM."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from dataplane.errors import ConfigFault
from queueproxy.service import run
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
MAIN = """
import asyncio, os, signal, sys
from queueproxy.service import run

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return await run(os.environ, stop)

sys.exit(asyncio.run(main()))
"""


async def ask(port: int, fields: str = "", target: str = "/") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n{fields}connection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    return data


async def answers(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except ConnectionError:
                await asyncio.sleep(0.02)


@pytest.fixture
async def process(app):
    """(process, serving port, admin port, metrics port)."""
    serving, admin, metrics = free_port(), free_port(), free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "USER_PORT": str(app.port),
        "QUEUE_SERVING_PORT": str(serving),
        "QUEUE_ADMIN_PORT": str(admin),
        "QUEUE_METRICS_PORT": str(metrics),
        "CONTAINER_CONCURRENCY": "2",
        "REVISION_TIMEOUT_SECONDS": "10",
        "SERVING_NAMESPACE": "default",
        "SERVING_REVISION": "hello-00001",
        "SERVING_POD": "uid-7",
        "DRAIN_QUIET_S": "0.3",
        "SERVING_READINESS_PROBE": json.dumps({"httpGet": {"path": "/ready"}, "successThreshold": 1}),
    }
    made = await asyncio.create_subprocess_exec(sys.executable, "-c", MAIN, env=environ)
    await answers(serving)
    yield made, serving, admin, metrics
    if made.returncode is None:
        made.kill()
    await made.wait()


async def test_from_the_environment_to_the_app_and_away_on_sigterm(process, app):
    made, serving, admin, metrics = process
    probe = await ask(serving, "user-agent: Knative-Activator-Probe\r\nk-network-probe: queue\r\n", "/healthz")
    assert b"x-dp-pod: uid-7\r\n" in probe
    assert probe.endswith(b"queue")
    assert (await ask(serving)).endswith(b"ok")
    assert b'kn_revision_name="hello-00001",http_response_status_code="200"} 1' in await ask(metrics, "", "/metrics")

    async def slow(reader, writer, head):
        await asyncio.sleep(0.6)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")

    app.answer = slow
    request = asyncio.create_task(ask(serving))
    while not app.running:
        await asyncio.sleep(0.005)
    hook = asyncio.create_task(ask(admin, "", "/wait-for-drain"))
    await asyncio.sleep(0.05)
    made.send_signal(signal.SIGTERM)
    assert (await request).endswith(b"late")
    assert (await hook).startswith(b"HTTP/1.1 200 ")
    async with asyncio.timeout(30):
        assert await made.wait() == 0


async def test_a_wrong_environment_is_told_before_anything_listens():
    with pytest.raises(ConfigFault, match="USER_PORT is not set"):
        await run({}, asyncio.Event())


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open(app):
    admin = free_port()
    environ = {"USER_PORT": "1", "QUEUE_SERVING_PORT": str(app.port), "QUEUE_ADMIN_PORT": str(admin)}
    with pytest.raises(OSError, match="in use"):
        await run({**environ, "QUEUE_METRICS_PORT": "0"}, asyncio.Event())
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", admin)
