"""One trigger's place in a log: what it holds, what waits for its time, and what of it must be written down.

Path: dispatcher.py → [place] → the store's ledger; fanout.py hands records to it.

A delivery is one of two things. Fresh: its position is open in the progress. Written: it was given back once (or it is
a letter that is redriven), its schedule row holds its attempt until it ends, and its position is settled in the
progress. Both survive a crash as what they are, because each change is one commit.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from broker.store.contract import Consumer, Delivery, Done, Failure, Kept, Lag, Letter, Record, Start
from broker.store.progress import Progress
from broker.store.schedule import Entry, Schedule
from dataplane.errors import StoreUnavailable

Found = tuple[str, Record]  # position as text, record


class Handed(Delivery):
    """key: its position, or -id of its letter; 0 when it has ended. written: a schedule row exists."""

    __slots__ = ("key", "written")

    def __init__(self, record: Record, position: str, key: int, attempt: int, due_at: float, written: bool) -> None:
        self.record = record
        self.position = position
        self.attempt = attempt
        self.due_at = due_at
        self.key = key
        self.written = written


class Ledger(Protocol):
    """What a log keeps for its triggers. Calls record and return at once; nothing of them blocks or raises."""

    def moved(self, place: "Place") -> None:
        """Its progress changed; the first such call since it was last written."""

    def wrote(self, place: "Place", entry: Entry) -> None:
        """Keep this schedule row; it replaces one of the same key."""

    def ended(self, place: "Place", key: int) -> None:
        """The schedule row of `key` goes, and with it the letter that was redriven."""

    def parked(self, place: "Place", handed: Handed, failure: Failure, kept: Kept) -> None:
        """Keep a letter within the bounds of the settings."""

    def append_with(self, place: "Place", handed: Handed, reply: Record, done: Done) -> None: ...

    def counts(self, place: "Place") -> tuple[int, int]:
        """Letters (parked, dead-lettered)."""
        ...

    def fetch(
        self, place: "Place", keys: Sequence[int], done: Callable[[dict[int, Found | None] | None], None]
    ) -> None:
        """Records by key, later, on the loop; None instead of one that is gone for good. Keys it did not get to are to
        be asked for again. None altogether: try again later."""

    def fetch_from(
        self, place: "Place", position: int, limit: int, done: Callable[[list[tuple[int, Record]] | None, int], None]
    ) -> None:
        """At most `limit` records from `position` on, later, on the loop, and up to where that is all that is left;
        None: try again later."""

    def read_on(self, place: "Place", done: Callable[[], None]) -> None:
        """Read the schedule from its horizon on."""

    async def letters(self, place: "Place", kept: Kept | None, after: int, limit: int) -> list[Letter]: ...

    async def redrive(self, place: "Place", ids: Sequence[int] | None, kept: Kept) -> int: ...

    async def discard(self, place: "Place", ids: Sequence[int] | None, kept: Kept) -> int: ...

    async def locate(self, start: Start) -> int:
        """The position to read next. Raises StoreFault for one that is none."""
        ...

    async def flush(self) -> bool:
        """Returns when everything recorded so far is durable (True), or cannot become so now."""
        ...

    async def left(self, place: "Place") -> None:
        """The subscription is closed: everything recorded of it is made durable."""


class Reader(Protocol):
    """The fan-out, as a place sees it."""

    head: int

    def enqueue(self, place: "Place") -> None: ...

    def wait(self, place: "Place", entry: Entry) -> None: ...

    def leave(self, place: "Place") -> None: ...

    def seek(self, place: "Place", position: int) -> None: ...

    def newest_first(self, place: "Place") -> None: ...

    def changed(self, place: "Place") -> None: ...


class Place:
    """A Subscription. Lives on the loop."""

    __slots__ = (
        *("consumer", "key", "name", "ordered", "ledger", "reader"),
        *("progress", "schedule", "out", "again"),
        *("fetched", "buffer", "passed", "fetching", "turn"),
        *("behind", "newest", "turns", "starved", "queued", "armed", "next_at", "passed_at", "replay_until"),
        *("batch", "room"),
        *("dirty", "closed"),
    )

    def __init__(self, consumer: Consumer, ledger: Ledger, reader: Reader, progress: Progress) -> None:
        self.consumer = consumer
        self.key, self.name, self.ordered = consumer.key, consumer.name, consumer.ordered
        self.ledger = ledger
        self.reader = reader
        self.progress = progress
        self.schedule = Schedule()
        self.out: dict[int, float] = {}  # written ones the consumer has: key → arrival
        self.again: deque[Entry] = deque()  # before anything new, in this order
        self.fetched: dict[int, Found | None] = {}  # for `again`; None: gone for good
        self.buffer: deque[tuple[int, Record]] = deque()  # read ahead of `progress.next`
        self.passed: deque[tuple[int, Record]] = deque()  # read ahead of the first gap
        self.next_at = 0.0  # arrival of the record at progress.next, while behind
        self.passed_at = 0.0  # arrival of the first record in a gap
        self.replay_until = 0  # below it a position may be known already
        self.batch: list[Delivery] = []
        self.room = -1  # of the feed that is running; -1: not asked yet
        self.armed = float("inf")
        self.behind = True
        self.newest = False  # what is new need not wait for `again` and the gaps
        self.turns = 0
        self.starved = False  # something is due and there was no room
        self.queued = self.fetching = self.dirty = self.closed = False
        self.turn = 0  # which fetch an answer belongs to

    # dispatcher → us

    def more(self) -> None:
        if (self.behind or self.newest or self.again or self.starved) and not self.queued and not self.closed:
            self.reader.enqueue(self)

    def newest_first(self) -> None:
        if not self.closed:
            self.reader.newest_first(self)

    def changed(self) -> None:
        if not self.closed:
            self.ordered = self.consumer.ordered
            self.reader.changed(self)

    def settle(self, delivery: Delivery) -> None:
        assert isinstance(delivery, Handed)
        if self.end(delivery) and delivery.written:
            self.ledger.ended(self, delivery.key)

    def settle_with(self, delivery: Delivery, reply: Record, done: Done) -> None:
        assert isinstance(delivery, Handed)
        self.ledger.append_with(self, delivery, reply, done)

    def later(self, delivery: Delivery, *, due_at: float, attempt: int, keep: bool = False) -> None:
        assert isinstance(delivery, Handed)
        if not self.end(delivery):
            return
        entry = Entry(delivery.key, attempt, due_at, delivery.record.arrived_at)
        self.ledger.wrote(self, entry)
        if keep:
            delivery.attempt, delivery.due_at, delivery.written = attempt, due_at, True
            self.out[delivery.key] = delivery.record.arrived_at
        else:
            self.reader.wait(self, entry)

    def holds(self, delivery: Delivery) -> bool:
        """The log is one process's."""
        return True

    def let_go(self, delivery: Delivery) -> None:
        self.later(delivery, due_at=delivery.due_at, attempt=delivery.attempt)

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        assert isinstance(delivery, Handed)
        if self.end(delivery):
            self.ledger.parked(self, delivery, failure, kept)
            if delivery.written:
                self.ledger.ended(self, delivery.key)

    def lag(self) -> Lag:
        arrivals = [*self.progress.open.values(), *self.out.values()]
        arrivals += [entry.arrived_at for entry in self.again]
        arrivals += [entry.arrived_at for _, entry in self.schedule.waiting.values()]
        unread = self.reader.head - self.progress.next if self.behind else 0
        if unread:
            arrivals.append(self.next_at)
        passed = self.progress.passed
        if passed:
            arrivals.append(self.passed_at)
        parked, dead_lettered = self.ledger.counts(self)
        return Lag(
            waiting=unread + passed + len(self.again),
            in_flight=len(self.progress.open) + len(self.out) - sum(not entry.written for entry in self.again),
            scheduled=len(self.schedule),
            parked=parked,
            dead_lettered=dead_lettered,
            oldest_at=min((at for at in arrivals if at), default=0.0),
        )

    async def letters(self, *, kept: Kept | None = None, after: str = "", limit: int = 100) -> list[Letter]:
        numbers = _numbers([after]) if after else [0]
        return await self.ledger.letters(self, kept, numbers[0] if numbers else 0, limit)

    async def redrive(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        if self.closed:
            raise StoreUnavailable("the subscription is closed")
        return await self.ledger.redrive(self, _numbers(ids), kept)

    async def discard(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        return await self.ledger.discard(self, _numbers(ids), kept)

    async def seek(self, start: Start) -> None:
        position = await self.ledger.locate(start)
        if self.closed:
            raise StoreUnavailable("the subscription is closed")
        self.reader.seek(self, position)
        self.mark()
        await self.ledger.flush()

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.reader.leave(self)
        await self.ledger.left(self)

    # ledger, reader → us

    def mark(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.ledger.moved(self)

    def end(self, handed: Handed) -> bool:
        """The consumer does not have it any more. False: it has not had it, or the subscription is closed."""
        if self.closed:
            return False
        if handed.written:
            if self.out.pop(handed.key, None) is None:
                return False
        elif self.progress.open.pop(handed.key, None) is None:
            return False
        elif not self.dirty:
            self.dirty = True
            self.ledger.moved(self)
        return True

    def unend(self, handed: Handed) -> None:
        """What `end` did could not be made durable: the consumer still has it."""
        if handed.written:
            self.out[handed.key] = handed.record.arrived_at
        else:
            self.progress.open[handed.key] = handed.record.arrived_at

    def hand(self, entry: Entry, found: Found) -> Handed:
        position, record = found
        if entry.written:
            self.out[entry.key] = record.arrived_at
        else:
            self.progress.open[entry.key] = record.arrived_at
        due_at = entry.due_at if self.ordered else 0.0
        return Handed(record, position, entry.key, entry.attempt, due_at, entry.written)

    def knows(self, position: int) -> bool:
        """Whether a replay need not hand it over: it is with the consumer, or will come at its time."""
        return position in self.progress.open or position in self.out or position in self.schedule.waiting


def _numbers(ids: Sequence[str] | None) -> list[int] | None:
    """What is no id of ours names no letter."""
    return None if ids is None else [int(one) for one in ids if one.isascii() and one.isdigit()]
