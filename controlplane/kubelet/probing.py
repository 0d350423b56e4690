"""The probes of one run of a container.

Path: pod.py → [probing] → probes.py (when), try_probe.py (how).

First startup; then readiness and liveness side by side, one task each. Nothing is asked of a container without probes.

Source: spec/serving.md §9.8, §12.4; Kubernetes' pkg/kubelet/prober.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from controlplane.drivers.contract import Driver
from controlplane.kubelet import try_probe
from controlplane.kubelet.compose import Watched
from controlplane.kubelet.probes import Course, Kind
from dataplane.net.tasks import Tasks


class Listener(NamedTuple):
    """changed: startup or readiness has a new verdict. failed: a try that should have passed did not; the last
    argument is True when the container has to be restarted for it. starting: pods that are not ready yet."""

    changed: Callable[[], None]
    failed: Callable[[Kind, str, bool], None]
    starting: Callable[[], int]


class Probing:
    """`open` when the process runs, `close` when it does not any more."""

    __slots__ = ("_uid", "_container", "_watched", "_driver", "_tasks", "_listener", "_running", "started", "passing")

    def __init__(
        self, *, uid: str, container: str, watched: Watched, driver: Driver, tasks: Tasks, listener: Listener
    ) -> None:
        self._uid = uid
        self._container = container
        self._watched = watched
        self._driver = driver
        self._tasks = tasks
        self._listener = listener
        self._running: list[asyncio.Task[None]] = []
        self.started = watched.startup is None
        self.passing = watched.readiness is None

    @property
    def ready(self) -> bool:
        return self.started and self.passing

    def open(self) -> None:
        if self._watched.startup is not None:
            self._spawn("startup")
        else:
            self._after_startup()

    def close(self) -> None:
        for task in self._running:
            task.cancel()
        self._running.clear()
        self.started = self.passing = False

    def _after_startup(self) -> None:
        self.started = True
        if self._watched.readiness is not None:
            self._spawn("readiness")
        if self._watched.liveness is not None:
            self._spawn("liveness")

    def _spawn(self, kind: Kind) -> None:
        self._running.append(self._tasks.spawn(self._follow(kind), f"{kind}.{self._container}"))

    async def _follow(self, kind: Kind) -> None:
        loop = asyncio.get_running_loop()
        asked = getattr(self._watched, kind)
        probe, check = asked
        course = Course(kind, probe, loop.time())
        while True:
            wait_s = course.due - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            eager = course.eager
            why_not = await self._try(check, course.timeout_s)
            changed = course.answered(not why_not, loop.time(), starting=self._listener.starting())
            fatal = changed and course.passing is False and kind != "readiness"
            if why_not and not eager:
                self._listener.failed(kind, why_not, fatal)
            if fatal:
                return
            if changed and kind == "readiness":
                self.passing = bool(course.passing)
                self._listener.changed()
            elif changed and kind == "startup":
                self._after_startup()
                self._listener.changed()
                return

    async def _try(self, check: try_probe.Check, timeout_s: float) -> str:
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                if isinstance(check, try_probe.Tcp):
                    return await try_probe.connect(check)
                if isinstance(check, try_probe.Http):
                    return await try_probe.get(check)
                if isinstance(check, try_probe.Grpc):
                    return await try_probe.health(check)
                code = await self._driver.exec(self._uid, self._container, check.argv, deadline)
                return "" if code == 0 else f"command {check.argv[0]!r} exited with {code}"
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except (OSError, ValueError) as error:
            return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
