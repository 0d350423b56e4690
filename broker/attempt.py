"""One attempt at a delivery: one POST, to the subscriber or to the dead-letter sink.

Path: dispatcher.py → window.py → attempts.py → [attempt] → net/call.py → [attempt] → attempts.py.
"""

from typing import Protocol

from broker.deliver import Post
from broker.outcome import DATA_BYTES_MAX
from broker.store.contract import Delivery, Failure
from broker.window import Held
from dataplane.errors import StoreFault
from dataplane.net.call import Call


class Owner(Protocol):
    """Whose attempt it is (attempts.py)."""

    def answered(self, attempt: "Attempt") -> None: ...

    def may_begin(self, attempt: "Attempt") -> bool:
        """It would be sent now, a first time or once more."""
        ...

    def reply_stored(self, attempt: "Attempt", fault: StoreFault | None) -> None: ...


class Attempt(Call):
    """One delivery, one POST. failure: why it goes to the dead-letter sink; None: this is for the subscriber."""

    __slots__ = ("consumer", "delivery", "due", "failure", "lane", "late", "number", "post", "size_bytes", "started")

    def __init__(self, consumer: Owner, delivery: Delivery, number: int, size_bytes: int, lane: int = 0) -> None:
        super().__init__()
        self.consumer = consumer
        self.delivery = delivery
        self.number = number
        self.size_bytes = size_bytes
        self.lane = lane
        self.late = number > 1
        self.failure: Failure | None = None
        self.due = 0.0  # loop seconds
        self.started = 0.0
        self.post: Post

    def __lt__(self, other: Held) -> bool:
        return self.due < other.due

    def follow(self, number: int) -> "Attempt":
        """The next one of the same delivery, in the same lane."""
        return Attempt(self.consumer, self.delivery, number, self.size_bytes, self.lane)

    def said(self) -> str:
        """For people: what came of it."""
        return f"answered {self.status}" if self.error is None else str(self.error) or self.error.code

    def failed(self, reason: str, code: int, message: str, at: float) -> Failure:
        """Why it is the last. at: wall seconds."""
        return Failure(
            reason=reason, code=code, dest=self.post.url, data=self.body[:DATA_BYTES_MAX],
            message=message or self.said(), attempts=self.number, at=at,
        )  # fmt: skip

    def may_repeat(self) -> bool:
        return self.consumer.may_begin(self)

    def on_answer(self) -> None:
        self.consumer.answered(self)

    def on_stored(self, fault: StoreFault | None) -> None:
        self.consumer.reply_stored(self, fault)
