"""Gateways and activators as processes of their own, fed by one watched file; pods are servers in this loop."""

import asyncio
import http.client
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.integration.launch.conftest import Program, environ, start
from tests.ports import free_port

__all__ = ["environ", "start"]


class Pod:
    """Answers every request after `delay_s` and counts how many it works on at once: the witness of a limit."""

    def __init__(self, name: str, delay_s: float) -> None:
        self.name, self.delay_s = name, delay_s
        self.running = self.running_max = self.served = 0
        self.address = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> "Pod":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if b"content-length:" in head:
                    await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
                self.running += 1
                self.running_max = max(self.running_max, self.running)
                try:
                    await asyncio.sleep(self.delay_s)
                finally:
                    self.running -= 1
                self.served += 1
                body = self.name.encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


class Hop:
    """A process of the path and what its /metrics say."""

    def __init__(self, program: Program, admin: int) -> None:
        self.program, self.admin = program, admin
        self.process = program.process

    @property
    def url(self) -> str:
        return self.program.ready["http"]

    @property
    def port(self) -> int:
        return self.program.port("http")

    def metric(self, name: str, *labels: str) -> float:
        """Sum over the series whose labels contain all of `labels`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        series = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in series if all(label in line for label in labels))


class Yard:
    """One snapshot file and the processes that follow it. Revisions are named after their host's first word."""

    def __init__(self, file: Path, start: Callable[..., Program]) -> None:
        self.file = file
        self._start = start
        self.pods: list[Pod] = []

    async def pod(self, name: str, delay_s: float = 0.0) -> Pod:
        pod = await Pod(name, delay_s).start()
        self.pods.append(pod)
        return pod

    def publish(self, limit: int = 0, **revisions: list[Pod]) -> None:
        """Every revision by name with its pods; `limit` is the containerConcurrency of all."""
        snapshot = {
            "routes": {
                f"default/{name}": {
                    "rules": [
                        {
                            "hosts": [f"{name}.default.localhost"],
                            "paths": [{"splits": [{"revision": f"default/{name}"}]}],
                        }
                    ]
                }
                for name in revisions
            },
            "revisions": {
                f"default/{name}": {
                    "containerConcurrency": limit,
                    "timeoutS": 60,
                    "endpoints": [{"id": pod.name, "address": pod.address} for pod in pods],
                }
                for name, pods in revisions.items()
            },
        }
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(snapshot))
        os.replace(fresh, self.file)

    async def activator(self, *arguments: str) -> Hop:
        return await self._hop("activator", *arguments)

    async def gateway(self, *activators: Hop) -> Hop:
        return await self._hop("gateway", *(word for one in activators for word in ("--activator", one.url)))

    async def _hop(self, role: str, *arguments: str) -> Hop:
        admin = free_port()
        listen = ("--http", "127.0.0.1:0", "--admin", f"127.0.0.1:{admin}")
        return Hop(await asyncio.to_thread(self._start, role, "--snapshot", str(self.file), *listen, *arguments), admin)


@pytest.fixture
async def yard(tmp_path: Path, start: Callable[..., Program]) -> AsyncIterator[Yard]:
    made = Yard(tmp_path / "routes.json", start)
    yield made
    for pod in made.pods:
        await pod.stop()
