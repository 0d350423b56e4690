"""Admission of a gateway beside separate activators: serve directly what needs no counting, send the rest to them.

Path: forward.py → [remote] → the local admission (pods without a limit, or behind a queue-proxy) | an activator over
HTTP.

A limit is global only where one process counts: a revision with a containerConcurrency and no queue-proxy goes
through an activator, and so does one without pods. Several gateways, or several workers of one, then never exceed it
together.

Source: architecture.md "The four contracts" 2; performance.md P3; reliability.md AC-07.
"""

from collections.abc import Callable

from dataplane.errors import NoCapacity
from dataplane.policy.admission import Admission, Slot, Waiter
from dataplane.resources.snapshot import Change, Snapshot

EJECTED_S = 1.0


class ActivatorSlot:
    """Somewhere to send a request; nothing is counted. Satisfies policy.admission.Slot."""

    __slots__ = ("address", "down_until", "lines", "pod")
    activator = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.pod = f"activator {address[0]}:{address[1]}"
        self.lines = b""
        self.down_until = 0.0


class RemoteAdmission:
    """`local` serves what it may; `activators` are where the rest goes, those that just failed last."""

    def __init__(
        self, *, local: Admission, activators: tuple[tuple[str, int], ...], clock: Callable[[], float]
    ) -> None:
        self._local = local
        self._activators = [ActivatorSlot(address) for address in activators]
        self._clock = clock
        self._next = 0
        self._direct: dict[str, bool] = {}

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        """Learn which revisions may be served directly. The local admission is told separately."""
        if change is None or change.base == -1:
            self._direct = {}
            keys = list(snapshot.revisions)
        else:
            keys = list(change.revisions)
        for key in keys:
            revision = snapshot.revisions.get(key)
            if revision is None:
                self._direct.pop(key, None)
                continue
            ready = [e for e in revision.endpoints if e.ready and not e.draining]
            self._direct[key] = bool(ready) and (
                revision.container_concurrency == 0 or all(endpoint.sidecar for endpoint in ready)
            )

    def take(self, revision: str, avoid: str = "") -> Slot | None:
        if self._direct.get(revision):
            slot = self._local.take(revision, avoid)
            if slot is not None:
                return slot
        return self._activator(avoid)

    def wait(self, revision: str, waiter: Waiter, *, deadline: float, size_bytes: int) -> bool:
        """Only reached without activators: everybody who has one is sent there."""
        raise NoCapacity

    def grow(self, revision: str, waiter: Waiter, size_bytes: int) -> None:
        pass

    def abandon(self, revision: str, waiter: Waiter) -> None:
        pass

    def leave(self, slot: Slot, *, failed: bool = False) -> None:
        if not isinstance(slot, ActivatorSlot):
            self._local.leave(slot, failed=failed)
        elif failed:
            slot.down_until = self._clock() + EJECTED_S

    def _activator(self, avoid: str) -> Slot | None:
        """Round-robin over those that are not ejected; the least recently failed when all are."""
        activators = self._activators
        if not activators:
            return None
        now = self._clock()
        for _ in range(len(activators)):
            slot = activators[self._next % len(activators)]
            self._next += 1
            if slot.down_until <= now and (slot.pod != avoid or len(activators) == 1):
                return slot
        return min(activators, key=lambda slot: slot.down_until)
