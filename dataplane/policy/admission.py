"""The admission contract: "a slot on a pod of revision R".

Path: gateway/forward.py → [admission] → activator/hold.py in the same process, or an HTTP hop to `dataplane activator`.

Answered at once (no await, task or future) when there is capacity, otherwise a waiter that is called back. The gateway
does not know which implementation answers.

Source: architecture.md "The four contracts" 2.
"""

from typing import Protocol

from dataplane.errors import DataplaneError


class Slot(Protocol):
    """A place on one pod. Give it back exactly once with `Admission.leave`."""

    address: tuple[str, int]  # where to connect: host, port
    pod: str  # identity of the pod
    lines: bytes  # header lines that this upstream needs
    activator: bool  # not a pod but an activator, which must be told the revision


class Waiter(Protocol):
    """Somebody who waits. Exactly one of the two is called, once, unless `abandon` came first."""

    def granted(self, slot: Slot) -> None: ...

    def refused(self, error: DataplaneError) -> None: ...


class Admission(Protocol):
    def take(self, revision: str, avoid: str = "") -> Slot | None:
        """A slot now, or None: wait. `avoid` is a pod id to prefer not to get (it just failed)."""
        ...

    def wait(self, revision: str, waiter: Waiter, *, deadline: float, size_bytes: int) -> bool:
        """Queue, first in first out. True: a cold start, the revision has no pod at all.

        Raises DataplaneError (nothing to undo): the queue is full, or the revision cannot serve.
        """
        ...

    def grow(self, revision: str, waiter: Waiter, size_bytes: int) -> None:
        """The waiter holds so much more. Raises DataplaneError: too much; it still waits."""
        ...

    def abandon(self, revision: str, waiter: Waiter) -> None:
        """The client left while waiting."""
        ...

    def leave(self, slot: Slot, *, failed: bool = False) -> None:
        """The exchange ended. `failed`: the pod refused or reset the connection; ask it again before using it."""
        ...
