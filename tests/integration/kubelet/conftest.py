"""A kubelet over a memory store and real processes."""

import asyncio
import os
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from controlplane.drivers.contract import PodProcess
from controlplane.drivers.process import DriverSettings, ProcessDriver
from controlplane.kubelet.kubelet import Kubelet
from controlplane.kubelet.settings import KubeletSettings, host_env
from controlplane.store.contract import Delete, Key, Put
from controlplane.store.memory import MemoryStore
from dataplane.clock import SYSTEM, rfc3339
from dataplane.resources.core import ConfigMap, Container, ContainerPort, Event, Pod, PodSpec, PodStatus, Secret
from dataplane.resources.meta import ObjectMeta, condition
from dataplane.resources.snapshot import Endpoint
from dataplane.telemetry.metrics import Registry

LABELS = {
    "serving.knative.dev/service": "hello",
    "serving.knative.dev/configuration": "hello",
    "serving.knative.dev/revision": "hello-00001",
}


class Watched(ProcessDriver):
    """The real driver; remembers what it was told to start."""

    forced: str | None = None
    started: list[PodProcess]

    def start(self, pod: PodProcess) -> None:
        self.started.append(pod)
        super().start(pod)

    @property
    def no_mounts(self) -> str:
        return super().no_mounts if self.forced is None else self.forced


class Node:
    """A machine with a kubelet on it, and shorthands."""

    def __init__(self, store: MemoryStore, driver: ProcessDriver, kubelet: Kubelet, folder: Path) -> None:
        self.store, self.driver, self.kubelet, self.folder = store, driver, kubelet, folder
        self.published: list[tuple[str, tuple[Endpoint, ...]]] = []
        self.in_flight: dict[str, int | None] = {}

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.005)

    def program(self, text: str) -> tuple[str, ...]:
        path = self.folder / f"{uuid.uuid4().hex[:8]}.py"
        path.write_text(textwrap.dedent(text))
        return (sys.executable, "-I", "-S", str(path))

    def served(self, **more: object) -> Container:
        """The hello program as the serving container."""
        return Container(
            **{
                "name": "user-container",
                "image": "demo://hello",
                "ports": (ContainerPort(container_port=8080),),
                **more,
            }
        )

    async def start(self, *containers: Container, labels: dict[str, str] = LABELS, **spec: object) -> Key:
        name = f"pod-{uuid.uuid4().hex[:6]}"
        meta = ObjectMeta(
            name=name,
            namespace="default",
            uid=uuid.uuid4().hex,
            labels=labels,
            creation_timestamp=rfc3339(SYSTEM.wall()),
        )
        spec = {"termination_grace_period_seconds": 5, **spec}
        pod = Pod(metadata=meta, spec=PodSpec(containers=containers, **spec))
        key = Key("", "Pod", "default", name)
        await self.store.commit([Put(key, pod, "")])
        return key

    def pod(self, key: Key) -> Pod:
        found = self.store.get(key)
        assert isinstance(found, Pod)
        return found

    def status(self, key: Key) -> PodStatus:
        return self.pod(key).status

    def is_ready(self, key: Key) -> bool:
        ready = condition(self.status(key).conditions, "Ready")
        return ready is not None and ready.status == "True"

    async def ready(self, key: Key) -> Pod:
        await self.until(lambda: self.is_ready(key))
        return self.pod(key)

    async def remove(self, key: Key, grace_s: int = 5) -> None:
        pod = self.pod(key)
        meta = replace(pod.metadata, deletion_timestamp=rfc3339(SYSTEM.wall()), deletion_grace_period_seconds=grace_s)
        await self.store.commit([Put(key, replace(pod, metadata=meta), None)])

    async def gone(self, key: Key) -> None:
        await self.until(lambda: self.store.get(key) is None)

    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.published[-1][1] if self.published else ()

    async def put(self, one: ConfigMap | Secret) -> None:
        kind = type(one).__name__
        await self.store.commit([Put(Key("", kind, "default", one.metadata.name), one, None)])

    async def delete(self, kind: str, name: str) -> None:
        await self.store.commit([Delete(Key("", kind, "default", name))])

    def events(self, key: Key) -> dict[str, Event]:
        uid = self.pod(key).metadata.uid
        found = self.store.objects("", "Event")
        return {e.reason: e for e in found if isinstance(e, Event) and e.involved_object.uid == uid}

    async def log(self, key: Key, container: str = "user-container", **options: object) -> str:
        pieces = self.kubelet.logs.read("default", key.name, container, **options)
        return b"".join([piece async for piece in pieces]).decode()


async def get(address: str, path: str = "/") -> str:
    """The body of one GET."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


@pytest.fixture
def fetch():
    return get


@pytest.fixture
def config_map():
    def make(name: str, **data: str) -> ConfigMap:
        return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)

    return make


@pytest.fixture
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    """Settings by `@pytest.mark.parametrize("node", [dict(...)], indirect=True)`."""
    options = dict(getattr(request, "param", {}))
    driver_options = options.pop("driver", {})
    force_no_mounts = options.pop("no_mounts", None)
    instance = f"test-{uuid.uuid4().hex[:8]}"
    driver_settings = DriverSettings(
        **{"instance": instance, "cgroups": False, "backoff_first_s": 0.05, "port_first": 21_000, **driver_options}
    )
    driver = Watched(clock=SYSTEM, registry=Registry(), settings=driver_settings)
    driver.started = []
    driver.forced = force_no_mounts
    store = MemoryStore()
    settings = KubeletSettings(
        **{"data": tmp_path / "data", "working_dir": str(tmp_path), "host_env": host_env(), "close_s": 2.0, **options}
    )
    node: Node
    kubelet = Kubelet(
        store=store,
        driver=driver,
        clock=SYSTEM,
        settings=settings,
        on_endpoints=lambda key, endpoints: node.published.append((key, endpoints)),
        in_flight=lambda uid: node.in_flight.get(uid, 0),
    )
    node = Node(store, driver, kubelet, tmp_path)
    await kubelet.start()
    try:
        yield node
    finally:
        await kubelet.close()
        assert not os.path.exists(f"/proc/{driver.nursery_pid}")
