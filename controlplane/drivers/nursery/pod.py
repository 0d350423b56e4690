"""The containers of one pod: init containers in order, then the others together; sidecars end last.

Path: supervise.py → [pod] → container.py.

Source: spec/serving.md §12.9; Kubernetes' pod lifecycle.
"""

from collections.abc import Callable

from controlplane.drivers.nursery.container import Life, Machine
from controlplane.drivers.nursery.frames import Frame
from controlplane.drivers.nursery.messages import Pod

SIDECAR_GRACE_S = 1.0  # what it stood beside has ended: nothing is left to drain


class PodLife:
    """`changed(pod)` is called after each change; `gone` stays True once everything has ended for good."""

    __slots__ = ("spec", "lives", "stopping", "_changed")

    def __init__(self, spec: Pod, machine: Machine, changed: Callable[["PodLife"], None]) -> None:
        self.spec = spec
        self.stopping = False
        self._changed = changed
        self.lives = [Life(one, spec.uid, machine, self._step) for one in spec.containers]
        if any(life.spec.init for life in self.lives):
            for life in self.lives:
                life.reason = "PodInitializing"

    @property
    def gone(self) -> bool:
        return self.stopping and all(life.state == "terminated" for life in self.lives)

    def start(self) -> None:
        self._step()

    def stop(self, grace_s: float) -> None:
        """Again with a shorter grace period: the shorter one counts."""
        self.stopping = True
        for life in self.lives:
            if not life.spec.sidecar:
                life.terminate(grace_s, for_good=True)
        self._step()

    def kill(self) -> None:
        self.stopping = True
        for life in self.lives:
            life.terminate(0.0, for_good=True)
            life.kill()

    def life(self, container: str) -> Life | None:
        return next((life for life in self.lives if life.spec.name == container), None)

    def report(self) -> Frame:
        return {"op": "pod", "uid": self.spec.uid, "gone": self.gone, "containers": [o.report() for o in self.lives]}

    def _step(self) -> None:
        if self.stopping:
            if all(life.state == "terminated" for life in self.lives if not life.spec.sidecar):
                for life in self.lives:
                    if life.spec.sidecar and not life.stopping:
                        life.terminate(SIDECAR_GRACE_S, for_good=True)
        else:
            self._start_next()
        self._changed(self)

    def _start_next(self) -> None:
        for life in self.lives:
            if life.spec.init and not (life.state == "terminated" and life.ended and life.ended.exit_code == 0):
                if life.idle:
                    life.start()
                return
        for life in self.lives:
            if not life.spec.init and life.idle:
                life.start()
