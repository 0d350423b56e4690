"""Whether the same request may be sent again: the rules of reliability.md §3.1.1 as one pure function.

Rules by number there: 1 never after a response byte went downstream; 2 free when no request byte was written or the
peer says "not processed"; 3 and 4 after bytes were written only idempotent methods, and only with nothing or a
wholly buffered body to repeat; 5 is rule 2 with the mark of a hop; 6 at most two attempts within a budget of active
requests.
"""

from typing import Protocol

ATTEMPTS_MAX = 2
BUDGET_RATIO = 0.2
BUDGET_MIN = 3
WAITING_MAX = 10_000  # as many as one revision may hold (activator queue_depth_max)
REPLAY_BYTES_MAX = 64 * 1024

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


def may_retry(
    *,
    method: bytes,
    attempt: int,
    response_started: bool,
    bytes_written: bool,
    not_processed: bool,
    reused: bool,
    body_bytes: int,
    body_buffered: bool,
    within_budget: bool,
) -> bool:
    """The verdict after an attempt failed before it gave a response.

    attempt: how many were made (1 = the first has just failed). body_bytes: of the request, sent so far or known.
    body_buffered: the whole body is at hand and at most REPLAY_BYTES_MAX. reused: the connection had served others
    before, so its death says nothing about this request.
    """
    if response_started or attempt >= ATTEMPTS_MAX or not within_budget:
        return False
    if not bytes_written or not_processed:
        return body_bytes == 0 or body_buffered or not bytes_written
    if method not in IDEMPOTENT:
        return False
    return body_bytes == 0 or (reused and body_buffered)


class Retry(Protocol):
    def retry_now(self) -> None:
        """Its turn has come."""
        ...


class RetryBudget:
    """Retries in flight never exceed a share of the active requests (rule 6); those beyond it wait their turn.

    Refusing them instead would fail requests that are safe to repeat whenever one of a few pods dies under load.
    A share of at least BUDGET_MIN is always in flight while somebody waits, and each has a deadline: the line moves.
    """

    __slots__ = ("_line", "_moving", "active", "retrying")

    def __init__(self) -> None:
        self.active = 0
        self.retrying = 0
        self._line: dict[Retry, None] = {}
        self._moving = False

    def allows(self) -> bool:
        return self.retrying < max(BUDGET_MIN, self.active * BUDGET_RATIO)

    def has_room(self) -> bool:
        """May one more retry begin or wait?"""
        return len(self._line) < WAITING_MAX

    def enter(self, retry: Retry) -> None:
        """`retry.retry_now()` once, now or later, unless `leave` comes first. First in, first out."""
        self._line[retry] = None
        self._move()

    def leave(self, retry: Retry) -> None:
        """It has ended, whether it had its turn or not. Exactly once per `enter`."""
        if retry in self._line:
            del self._line[retry]
        else:
            self.retrying -= 1
            self._move()

    def _move(self) -> None:
        if self._moving:
            return  # a retry that ends within its own retry_now(): the loop below goes on
        self._moving = True
        try:
            while self._line and self.allows():
                retry = next(iter(self._line))
                del self._line[retry]
                self.retrying += 1
                retry.retry_now()
        finally:
            self._moving = False
