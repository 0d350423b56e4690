"""When a probe runs next, and what its answers mean. Pure.

Path: Container.{readiness,liveness,startup}Probe → [probes] → watch_container.py.

periodSeconds 0 is Knative's aggressive probe: tried every few milliseconds from the start of the process, each try for
100 ms, so that a pod serves as soon as it can; once ready it is asked as seldom as any other.

Source: spec/serving.md §2.3 (defaults), §9.8, §16.11; Kubernetes' pkg/kubelet/prober.
"""

from typing import Literal

from dataplane.resources.core import Probe

Kind = Literal["startup", "readiness", "liveness"]
PERIOD_S, TIMEOUT_S, FAILURES = 10.0, 1.0, 3
EAGER_TIMEOUT_S = 0.1
# age of the process → pause between tries
EAGER_S = ((0.05, 0.002), (0.1, 0.005), (1.0, 0.01), (10.0, 0.05))
EAGER_LAST_S = 0.25  # an app that is not up after 10 s is in no hurry
STARTING_S = 0.001  # per pod that is starting at the same time: a storm of cold starts keeps its processor


class Course:
    """One probe over one run of a container. `now` and the times are loop seconds.

    passing: the present verdict; None before there is one. A liveness or startup probe whose verdict becomes False
    means: restart the container.
    """

    __slots__ = ("kind", "probe", "passing", "due", "_started", "_run", "_last")

    def __init__(self, kind: Kind, probe: Probe, started: float) -> None:
        self.kind = kind
        self.probe = probe
        self.passing: bool | None = None
        self.due = started + probe.initial_delay_seconds
        self._started = started
        self._run = 0  # of equal results
        self._last: bool | None = None

    @property
    def eager(self) -> bool:
        """Aggressive, and not ready yet."""
        return self.kind == "readiness" and self.probe.period_seconds == 0 and self.passing is not True

    @property
    def timeout_s(self) -> float:
        if self.eager and not self.probe.timeout_seconds:
            return EAGER_TIMEOUT_S
        return float(self.probe.timeout_seconds) or TIMEOUT_S

    def answered(self, ok: bool, now: float, *, starting: int = 1) -> bool:
        """Take a result; True when the verdict changed. `starting`: pods that are not ready yet, this one included."""
        self._run = self._run + 1 if ok == self._last else 1
        self._last = ok
        needed = max(1, self.probe.success_threshold) if ok else self.probe.failure_threshold or FAILURES
        if self.kind == "readiness" and self.passing is None and not ok:
            needed = 1
        changed = self.passing is not ok and self._run >= needed
        if changed:
            self.passing = ok
        self.due = now + self._pause_s(now, starting)
        return changed

    def _pause_s(self, now: float, starting: int) -> float:
        if not self.eager:
            return float(self.probe.period_seconds) or PERIOD_S
        age_s = now - self._started
        pause_s = next((pause for until, pause in EAGER_S if age_s < until), EAGER_LAST_S)
        return max(pause_s, STARTING_S * starting)
