"""When a container that ended is started again. Pure.

Like the kubelet: the first restart is immediate, then 10 s, 20 s … 300 s after each end; a container that ran for
10 minutes starts from the beginning.

Source: reliability.md LP-04; Kubernetes' pod lifecycle ("CrashLoopBackOff").
"""


class Backoff:
    """Of one container. Seconds throughout."""

    __slots__ = ("first_s", "max_s", "healthy_s", "crashes")

    def __init__(self, *, first_s: float, max_s: float, healthy_s: float) -> None:
        self.first_s = first_s
        self.max_s = max_s
        self.healthy_s = healthy_s
        self.crashes = 0

    def ended(self, ran_s: float) -> float:
        """It ended after `ran_s`; how long to wait before the next start."""
        if ran_s >= self.healthy_s:
            self.crashes = 0
        self.crashes += 1
        if self.crashes == 1:
            return 0.0
        doublings = min(self.crashes - 2, 32)
        return min(self.max_s, self.first_s * 2.0**doublings)
