"""Pods as local processes: the driver's side of the nursery.

Path: kubelet → [process] ⇄ nursery (another process) → containers.

Forking from a process with a big heap under uvloop blocks the loop for milliseconds, so this side only writes to a
socket. If the nursery dies (it is killed with -9, say), its containers die with it; the driver reports their pods as
gone and starts another nursery, which first kills whatever the dead one's containers had left.

Source: reliability.md LP-01…LP-09; design/ecosystem.md §0.4.
"""

import asyncio
import hashlib
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from controlplane.drivers.contract import ContainerReport, PodProcess, PodReport, Reporter
from controlplane.drivers.nursery.frames import Frame, Lines, encode
from controlplane.drivers.ports import Ports, is_free
from dataplane.clock import Clock
from dataplane.net.tasks import Tasks
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

HELLO_S = 10.0
RESPAWN_S = 1.0  # between attempts, after the first
_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from controlplane.drivers.nursery.__main__ import main\n"
    "main(int(sys.argv[2]))"
)


class DriverSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`instance` (any text) is the same for every run on the same data directory: what a killed run left is found
    by it."""

    instance: str
    backoff_first_s: float = 10.0
    backoff_max_s: float = 300.0
    healthy_s: float = 600.0
    log_file_bytes: int = 10 << 20
    log_rate_bytes_per_s: int = 4 << 20
    cgroups: bool = True
    spare: bool = True
    port_first: int = 20_000
    port_last: int = 32_000


class ProcessDriver:
    """See controlplane.drivers.contract.Driver."""

    def __init__(self, *, clock: Clock, registry: Registry, settings: DriverSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._tasks = Tasks("driver")
        self._ports = Ports(first=settings.port_first, last=settings.port_last, start=os.getpid() * 101)
        self._staging = tempfile.TemporaryDirectory(prefix="dataplane-staging-")
        self._pods: dict[str, PodProcess] = {}
        self._reports: dict[str, PodReport] = {}
        self._reporter: Reporter = lambda _: None
        self._nursery: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None  # None: orders wait in _orders
        self._orders: list[Frame] = []
        self._hello: asyncio.Future[Frame] | None = None
        self._execs: dict[int, asyncio.Future[int]] = {}
        self._exec_id = 0
        self._closing = False
        self._all_gone = asyncio.Event()
        self._no_mounts = "not opened"
        self._not_enforced: dict[str, str] = {}
        self._pods_now = registry.gauge("dataplane_driver_pods", "Pods that the process driver runs.").cell()
        self._dropped = registry.counter(
            "dataplane_driver_output_dropped_bytes_total", "Container output over the kept rate."
        ).cell()
        self._respawned = registry.counter(
            "dataplane_driver_nursery_restarts_total", "Times the supervisor process had to be started again."
        ).cell()

    @property
    def no_mounts(self) -> str:
        return self._no_mounts

    @property
    def not_enforced(self) -> dict[str, str]:
        return self._not_enforced

    @property
    def nursery_pid(self) -> int:
        """0 while there is none."""
        return self._nursery.pid if self._nursery is not None else 0

    async def open(self, reporter: Reporter) -> None:
        """Raises OSError or TimeoutError when the nursery does not start."""
        self._reporter = reporter
        await self._spawn()

    def free_port(self) -> int:
        return self._ports.take()

    def give_back(self, ports: tuple[int, ...]) -> None:
        for port in ports:
            self._ports.give_back(port)

    def is_free(self, port: int) -> bool:
        return is_free(port)

    def start(self, pod: PodProcess) -> None:
        if pod.uid in self._pods or self._closing:
            return
        self._pods[pod.uid] = pod
        self._pods_now.v = len(self._pods)
        frame: Frame = {"op": "start", "pod": msgspec.to_builtins(pod)}
        try:
            encode(frame)
        except ValueError as error:
            self._reject(pod, str(error))
        else:
            self._order(frame)

    def stop(self, uid: str, *, grace_s: float | None = None) -> None:
        pod = self._pods.get(uid)
        if pod is not None:
            self._order({"op": "stop", "uid": uid, "grace_s": pod.grace_s if grace_s is None else grace_s})

    def restart(self, uid: str, container: str, reason: str) -> None:
        pod = self._pods.get(uid)
        if pod is not None:
            log.info("container_restart pod=%s container=%s reason=%s", pod.name, container, reason)
            self._order({"op": "restart", "uid": uid, "container": container, "grace_s": pod.grace_s})

    async def exec(self, uid: str, container: str, argv: tuple[str, ...], deadline: float) -> int:
        loop = asyncio.get_running_loop()
        self._exec_id += 1
        answer: asyncio.Future[int] = loop.create_future()
        self._execs[self._exec_id] = answer
        order: Frame = {"op": "exec", "id": self._exec_id, "uid": uid, "container": container, "argv": list(argv)}
        try:
            self._order({**order, "timeout_s": max(0.0, deadline - loop.time())})
            async with asyncio.timeout_at(deadline + HELLO_S):  # the nursery keeps the deadline; this is its absence
                return await answer
        except TimeoutError:
            return 124
        finally:
            del self._execs[order["id"]]

    def reports(self) -> list[PodReport]:
        return list(self._reports.values())

    async def close(self) -> None:
        self._closing = True
        self._all_gone.clear()
        for uid in self._pods:
            self.stop(uid)
        if self._pods and self._transport is not None:
            await self._all_gone.wait()
        await self._tasks.close()
        if self._transport is not None:
            self._transport.close()
        if self._nursery is not None:
            await asyncio.to_thread(_wait, self._nursery)
        self._ports.close()
        self._staging.cleanup()

    # --- the nursery ---

    async def _spawn(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            self._nursery = await asyncio.to_thread(_start, theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._hello = loop.create_future()
        transport, _ = await loop.create_unix_connection(lambda: _Wire(self._on_frame, self._on_lost), sock=ours)
        settings = msgspec.to_builtins(self._settings)
        settings["instance"] = _short(self._settings.instance)
        for name in ("port_first", "port_last"):
            del settings[name]
        transport.write(encode({"op": "settings", "settings": {**settings, "staging": self._staging.name}}))
        try:
            async with asyncio.timeout(HELLO_S):
                hello = await self._hello
        except BaseException:
            transport.abort()
            raise
        self._no_mounts, self._not_enforced = hello["no_mounts"], hello["not_enforced"]
        log.info("nursery_ready pid=%s swept=%s", hello["pid"], hello["swept"])
        for limit, why in self._not_enforced.items():
            log.warning("limit_not_enforced limit=%s why=%s", limit, why)
        self._transport = transport
        orders, self._orders = self._orders, []
        for frame in orders:
            self._order(frame)

    def _order(self, frame: Frame) -> None:
        if self._transport is None:
            self._orders.append(frame)
        else:
            self._transport.write(encode(frame))

    def _on_frame(self, frame: Frame) -> None:
        if frame["op"] == "pod":
            self._report(msgspec.convert(frame, PodReport))
        elif frame["op"] == "exec":
            answer = self._execs.get(frame["id"])
            if answer is not None and not answer.done():
                answer.set_result(frame["code"])
        elif frame["op"] == "hello" and self._hello is not None and not self._hello.done():
            self._hello.set_result(frame)

    def _report(self, report: PodReport) -> None:
        if report.uid not in self._pods:
            return
        before = self._reports.get(report.uid)
        dropped = sum(c.dropped_bytes for c in report.containers)
        self._dropped.v += max(0, dropped - (sum(c.dropped_bytes for c in before.containers) if before else 0))
        if report.gone:
            self._forget(report.uid)
        else:
            self._reports[report.uid] = report
        self._reporter(report)

    def _forget(self, uid: str) -> None:
        pod = self._pods.pop(uid)
        self._reports.pop(uid, None)
        self.give_back(pod.ports)
        self._pods_now.v = len(self._pods)
        if not self._pods:
            self._all_gone.set()

    def _reject(self, pod: PodProcess, message: str) -> None:
        containers = tuple(
            ContainerReport(
                name=c.name, state="terminated", reason="ContainerCannotRun", message=message, exit_code=128
            )
            for c in pod.containers
        )
        self._report(PodReport(uid=pod.uid, containers=containers, gone=True))

    def _on_lost(self) -> None:
        self._transport = None
        for answer in self._execs.values():
            if not answer.done():
                answer.set_result(126)
        if self._closing and not self._pods:
            return
        waiting = {frame["pod"]["uid"] for frame in self._orders if frame["op"] == "start"}
        lost = [pod for uid, pod in self._pods.items() if uid not in waiting]
        log.error("nursery_lost pods=%s", len(lost))
        now = self._clock.wall()
        for pod in lost:
            before = self._reports.get(pod.uid)
            started = {c.name: c.started_at for c in before.containers} if before else {}
            containers = tuple(
                ContainerReport(
                    name=one.name,
                    state="terminated",
                    reason="Error",
                    message="the supervisor process ended",
                    exit_code=137,
                    signal=9,
                    started_at=started.get(one.name, 0.0),
                    finished_at=now,
                )
                for one in pod.containers
            )
            self._report(PodReport(uid=pod.uid, containers=containers, gone=True))
        if not self._closing:
            self._respawned.v += 1
            self._tasks.spawn(self._respawn(), "respawn")

    async def _respawn(self) -> None:
        if self._nursery is not None:
            await asyncio.to_thread(_wait, self._nursery)
        while True:
            try:
                return await self._spawn()
            except (OSError, TimeoutError) as error:
                log.error("nursery_not_started error=%s", error)
                await asyncio.sleep(RESPAWN_S)


class _Wire(asyncio.Protocol):
    def __init__(self, on_frame: Callable[[Frame], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._lines = Lines()

    def data_received(self, data: bytes) -> None:
        for frame in self._lines.feed(data):
            self._on_frame(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()


def _short(instance: str) -> str:
    """A name that may stand in a path and in a mark: anything else, such as a folder's path, as a hash."""
    if re.fullmatch(r"[a-z0-9-]{1,40}", instance):
        return instance
    return hashlib.sha256(instance.encode()).hexdigest()[:16]


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """In a thread: Popen waits until the child has called exec."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _BOOT, _ROOT, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", os.defpath)},
    )


def _wait(nursery: subprocess.Popen[bytes]) -> None:
    try:
        nursery.wait(timeout=HELLO_S)
    except subprocess.TimeoutExpired:
        nursery.kill()
        nursery.wait()
