"""A real driver with a real nursery, and programs to run in it."""

import asyncio
import os
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from controlplane.drivers.contract import ContainerReport, ContainerSpec, PodProcess, PodReport
from controlplane.drivers.nursery.family import children, tree
from controlplane.drivers.process import DriverSettings, ProcessDriver
from dataplane.clock import SYSTEM
from dataplane.telemetry.metrics import Registry

ENV = {"PATH": os.environ["PATH"]}


class Bench:
    """A driver, its reports, and shorthands."""

    def __init__(self, driver: ProcessDriver, folder: Path, instance: str, registry: Registry) -> None:
        self.driver, self.folder, self.instance, self.registry = driver, folder, instance, registry
        self.history: list[PodReport] = []
        self._news = asyncio.Event()

    def heard(self, report: PodReport) -> None:
        self.history.append(report)
        self._news.set()

    def program(self, text: str) -> tuple[str, ...]:
        path = self.folder / f"{uuid.uuid4().hex[:8]}.py"
        path.write_text(textwrap.dedent(text))
        return (sys.executable, "-I", "-S", str(path))

    def container(self, *argv: str, name: str = "main", **more: object) -> ContainerSpec:
        log = str(self.folder / f"{uuid.uuid4().hex[:8]}.log")
        return ContainerSpec(**{"name": name, "argv": argv, "env": ENV, "log_path": log, **more})

    def start(self, *containers: ContainerSpec, grace_s: float = 5.0, **more: object) -> str:
        uid = uuid.uuid4().hex
        self.driver.start(
            PodProcess(uid=uid, name="pod", namespace="default", containers=containers, grace_s=grace_s, **more)
        )
        return uid

    async def until(self, uid: str, true: Callable[[PodReport], bool]) -> PodReport:
        seen = 0
        async with asyncio.timeout(30):
            while True:
                for report in self.history[seen:]:
                    if report.uid == uid and true(report):
                        return report
                seen = len(self.history)
                self._news.clear()
                await self._news.wait()

    async def container_until(self, uid: str, true: Callable[[ContainerReport], bool], name: str = "main"):
        def holds(report: PodReport) -> bool:
            return any(c.name == name and true(c) for c in report.containers)

        report = await self.until(uid, holds)
        return next(c for c in report.containers if c.name == name)

    async def running(self, uid: str, name: str = "main") -> ContainerReport:
        return await self.container_until(uid, lambda c: c.state == "running", name)

    async def gone(self, uid: str) -> PodReport:
        return await self.until(uid, lambda r: r.gone)

    def spare(self) -> int:
        """The process that waits to become the next container; 0 while there is none in its group."""
        nursery = self.driver.nursery_pid
        for pid in children(nursery):
            if same_program(pid, nursery) and "/spare-" in read(f"/proc/{pid}/cgroup"):
                return pid
        return 0

    def below(self) -> list[int]:
        """Every process below the nursery but for the spare."""
        nursery = self.driver.nursery_pid
        return [pid for pid in tree(nursery)[1:] if not same_program(pid, nursery)]

    def processes(self) -> list[int]:
        """Live processes of this driver's containers, whoever their parent is."""
        return processes_marked(self.instance)


def same_program(pid: int, nursery: int) -> bool:
    """It was forked by the nursery and has not become anything yet."""
    return read(f"/proc/{pid}/cmdline") == read(f"/proc/{nursery}/cmdline") != ""


def state(pid: int) -> str:
    """As proc(5) has it: S while it waits in a system call."""
    return read(f"/proc/{pid}/stat").rpartition(") ")[2][:1]


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def processes_marked(instance: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            environ = Path(f"/proc/{name}/environ").read_bytes()
            state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"DATAPLANE_CONTAINER={instance}/".encode() in environ and state != "Z":
            found.append(int(name))
    return found


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def waiting_spare(bench: Bench) -> int:
    """The pid of a spare that will be taken by the next start, after that of a container that goes on."""
    uid = bench.start(bench.container("sleep", "1000", name="before"))
    await bench.running(uid, "before")
    await eventually(lambda: (pid := bench.spare()) and state(pid) == "S")  # it is in its group, has said so, and waits
    deadline = asyncio.get_running_loop().time() + 30
    assert await bench.driver.exec(uid, "before", ("true",), deadline) == 0  # so the nursery has heard it
    return bench.spare()


@pytest.fixture
def settled() -> Callable[[Callable[[], bool]], object]:
    return eventually


@pytest.fixture
def ready_spare() -> Callable[[Bench], Awaitable[int]]:
    return waiting_spare


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Settings by `@pytest.mark.parametrize("bench", [dict(...)], indirect=True)`."""
    instance = f"test-{uuid.uuid4().hex[:8]}"
    options = {"instance": instance, "cgroups": False, "backoff_first_s": 0.05, **getattr(request, "param", {})}
    registry = Registry()
    driver = ProcessDriver(clock=SYSTEM, registry=registry, settings=DriverSettings(**options))
    bench = Bench(driver, tmp_path, instance, registry)
    await driver.open(bench.heard)
    try:
        yield bench
    finally:
        for report in driver.reports():
            driver.stop(report.uid, grace_s=0.0)
        await driver.close()
        await eventually(lambda: not bench.processes())
