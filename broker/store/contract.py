"""What an event store promises: append a batch and know that it is durable; feed a trigger; settle out of order.

Path: ingress.py → [store] → dispatcher.py → deliver.py → [store]: settled, again later, or parked.

A store holds brokers; a broker is a log of Records; a trigger reads the log of its broker with progress of its own.
Memory is the executable specification. SQLite is the embedded default. Redis Streams and Kafka are what one machine
outgrows. One suite of tests runs against all (tests/contract/).

Everything that happens per event is a call, never a coroutine: `append`, `settle`, `later`, `park` return at once, and
`done` is called on the loop, later, never from within the call. What happens per broker or trigger is awaited.

Delivered at least once: a Delivery that was neither settled nor parked when the process died, the trigger was closed or
its window moved to another process comes again. What is settled durably never comes again (but by replay or redrive).
`settle` becomes durable with the next group commit; until then a crash may repeat it.

Where several processes share a broker, a lane of an ordered trigger is one process's at a time, and a process that was
stopped, or cut off, may be the last to learn that it is another's. So it asks `holds` before each attempt and lets go
of what may not be its own any more: whoever has the lane hands that over, in the order of the log.

Bounds: a store hands over no more than `Consumer.room()` and `fresh()`; whatever a trigger does not take stays on the
log.

Source: architecture.md "The four contracts" 3; spec/eventing.md §11, §27-29; reliability.md §3.4.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from dataplane.errors import StoreFault
from dataplane.wire.cloudevents import Event

Done = Callable[[StoreFault | None], None]

HOPS_MAX = 255  # spec §7.7
PASSED_MAX = 16  # stretches of the log that a trigger has passed over and comes back to
OLD_EVERY = 8  # of so many turns one begins with what waited


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An accepted event and what travels beside it, never inside it.

    arrived_at: wall seconds of acceptance. hops: how many more times a reply may enter a broker (spec §7.7).
    headers: (lower-case name, value) pairs that pass through: trace context, x-request-id, knative-… (spec §7.9).
    not_before: wall seconds of a delayed delivery; 0 = at once. expires_at: from `expirytime`; 0 = never.
    """

    event: Event
    arrived_at: float
    hops: int = HOPS_MAX
    headers: tuple[tuple[str, str], ...] = ()
    not_before: float = 0.0
    expires_at: float = 0.0


class Delivery:
    """One record handed to one trigger. Exactly one of settle, later, park and let_go ends it.

    position: where it stands in the log, as people may write it. attempt: 1 the first time; what `later` said after.
    due_at: wall seconds; not to be tried before (0 = now). Stores subclass it for what they need to find it again.
    """

    __slots__ = ("attempt", "due_at", "position", "record")

    def __init__(self, record: Record, position: str, attempt: int = 1, due_at: float = 0.0) -> None:
        self.record = record
        self.position = position
        self.attempt = attempt
        self.due_at = due_at


class Failure(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Why a delivery was given up. code: HTTP status or 0; dest: the URL that failed; data: ≤ 768 bytes of its answer.

    reason: a fixed word: `rejected`, `exhausted`, `reply`, `hops`, `expired`, `dead-letter`, `lost`.
    """

    reason: str
    code: int = 0
    dest: str = ""
    data: bytes = b""
    message: str = ""
    attempts: int = 0
    at: float = 0.0


Kept = Literal["parked", "dead-lettered"]


class Letter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A delivery that was given up. parked: nobody got it. dead-lettered: its dead-letter sink did; kept for redrive.

    id: of this letter within its trigger, as text; increases with time.
    """

    id: str
    kept: Kept
    record: Record
    position: str
    failure: Failure


class Start(NamedTuple):
    """Where a trigger begins to read. position: as in Delivery.position, the first one to be delivered."""

    at: Literal["latest", "earliest", "time", "position"] = "latest"
    time_s: float = 0.0  # wall seconds, with "time"
    position: str = ""  # with "position"


class Lag(NamedTuple):
    """How far behind a trigger is.

    waiting: records on the log that were not handed over yet (matching or not, as far as the store knows); in_flight:
    handed over; scheduled: given back with `later`; oldest_at: arrival of the oldest unsettled record, wall seconds.
    """

    waiting: int = 0
    in_flight: int = 0
    scheduled: int = 0
    parked: int = 0
    dead_lettered: int = 0
    oldest_at: float = 0.0


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker's owner may set, from its ConfigMap or the broker settings. 0 = no bound.

    retention: settled records older or beyond this many bytes go; unsettled ones are kept up to `quota_bytes`, then
    appends fail with StoreFull. parked_max, dead_lettered_max: letters per trigger, the oldest go first, counted.
    dedup_window_s: a second (source, id) within it is confirmed and not appended. config: what only one store knows
    (`default.topic.partitions`, `bootstrap.servers`, …).
    """

    retention_s: float = 7 * 86400.0
    retention_bytes: int = 0
    quota_bytes: int = 0
    parked_max: int = 1_000_000
    dead_lettered_max: int = 10_000
    dedup_window_s: float = 0.0
    config: dict[str, str] = {}


class Consumer(Protocol):
    """A trigger as its store sees it (broker/dispatcher.py). Called on the loop; must not block and must not raise."""

    key: str  # the trigger's uid: progress is kept under it
    name: str  # namespace/name, for metrics and logs
    ordered: bool  # records of one lane (spec §11.7) must be handed over in log order, and to one process only
    interest: tuple[str, str] | None  # (attribute, value) that every match has; None: cannot tell. For indexes.

    def matches(self, event: Event) -> bool:
        """Pure. What does not match is settled by the store itself."""
        ...

    def room(self) -> int:
        """How many deliveries it would take now of what waited: redeliveries, first, and what it is behind with."""
        ...

    def fresh(self) -> int:
        """How many it would take now of records that were appended just now. Both count the same places: who was given
        some is asked again."""
        ...

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """Matching deliveries in log order, at most `room()` or `fresh()`; redeliveries when they are due. An ordered
        consumer gets its scheduled ones at once after a restart, with `due_at` set: it keeps the lane's order itself.
        """
        ...

    def revoked(self) -> None:
        """Something of what it has is another process's now, or may be: it asks `holds` of all that it has not begun,
        and lets go. Called on the loop, never from within a call of its own to the Subscription."""
        ...


class Subscription(Protocol):
    """A trigger's place in the log. One per Consumer and process."""

    def more(self) -> None:
        """There may be room again. Cheap; call it whenever a delivery ended."""
        ...

    def newest_first(self) -> None:
        """Its subscriber was away and is back: what is appended from now on need not wait for what it is behind with.

        Until that is handed over, appended records come first, as far as `fresh()` allows, and of every eight turns one
        belongs to what waited, so that it never starves. What was passed over is unsettled, counts as waiting in `lag`
        and survives as such a restart. Nothing happens to an ordered consumer, nor where nothing waits, nor where
        PASSED_MAX stretches wait already.
        """
        ...

    def changed(self) -> None:
        """The consumer's `matches`, `interest` or `ordered` changed: records that are read from now on go by the new
        ones."""
        ...

    def settle(self, delivery: Delivery) -> None:
        """Done with it."""
        ...

    def settle_with(self, delivery: Delivery, reply: Record, done: Done) -> None:
        """Append `reply` to the same broker and settle, in one commit where the store can. With a fault neither may be
        assumed, and the delivery is still the consumer's."""
        ...

    def later(self, delivery: Delivery, *, due_at: float, attempt: int, keep: bool = False) -> None:
        """Hand it over again at `due_at` (wall seconds) as `attempt`. Survives a restart where the store can.

        keep: an ordered consumer holds on to it and tries it itself; the store only writes it down.
        """
        ...

    def holds(self, delivery: Delivery) -> bool:
        """Whether an attempt may begin now: no other process has its lane, or may have it by now. Pure, from memory.

        What was let go because of a False comes again, also where the answer would be True a moment later.
        """
        ...

    def let_go(self, delivery: Delivery) -> None:
        """It was not tried, or what came of it does not count: whoever has its lane hands it over, with the attempt
        that the store knows; that may be this process again."""
        ...

    def park(self, delivery: Delivery, failure: Failure, kept: Kept = "parked") -> None:
        """Give it up: settled, and kept as a Letter. Never lost silently: a store that cannot keep it redelivers it."""
        ...

    def lag(self) -> Lag:
        """From memory, at once; at most a few seconds old where a server must be asked."""
        ...

    async def letters(self, *, kept: Kept | None = None, after: str = "", limit: int = 100) -> list[Letter]:
        """Oldest first."""
        ...

    async def redrive(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int:
        """Deliver these letters again (None: all of that kind) as attempt 1, and forget them. How many there were."""
        ...

    async def discard(self, ids: Sequence[str] | None = None, *, kept: Kept = "parked") -> int: ...

    async def seek(self, start: Start) -> None:
        """Read from there again (replay) or skip there. What is in flight is settled normally."""
        ...

    async def close(self) -> None:
        """Stop handing over; make settled ones durable. What the consumer still has comes again to the next one."""
        ...


class Stored(NamedTuple):
    """A record as `read` shows it."""

    position: str
    record: Record


class EventLog(Protocol):
    """One broker's events."""

    def append(self, batch: Sequence[Record], done: Done) -> None:
        """All or none. `done(None)`: durable as the store's setting says (ack of fsync, of Redis, of Kafka)."""
        ...

    async def subscribe(self, consumer: Consumer, start: Start) -> Subscription:
        """Returns when every record appended from now on is sure to reach it (spec §12.8). `start` holds for a trigger
        without progress; one with progress goes on where it was."""
        ...

    async def forget(self, trigger: str) -> None:
        """The trigger of this uid was deleted: its progress and letters go. Missing is no error."""
        ...

    async def read(self, start: Start, *, limit: int = 100) -> list[Stored]:
        """For people: what is on the log from `start`, oldest first. With at="latest": the newest `limit`."""
        ...

    async def find(self, id: str, *, source: str = "", limit: int = 10) -> list[Stored]:
        """For people: records by event id, newest first, as far back as the store can look cheaply."""
        ...

    def size(self) -> tuple[int, int]:
        """(records, bytes) held, as far as known."""
        ...

    def shown(self) -> dict[str, str]:
        """Where the events are, for the Broker's status, by the names that people know it by (spec §12.3)."""
        ...


class EventStore(Protocol):
    """One kind of store in one process."""

    @property
    def durability(self) -> str:
        """For people and status: "fsync", "os", "memory", "relaxed (≤ 1 s)", "acks=all", …"""
        ...

    async def start(self) -> None:
        """Raises StoreFault when it cannot serve at all; a server that is away is no reason: see `not_ready`."""
        ...

    async def open(self, broker: str, settings: LogSettings) -> EventLog:
        """`broker` is `namespace/name`. Creates what is needed. Raises StoreFault.

        Opening it again takes over other settings and returns the same log; its subscriptions go on.
        """
        ...

    async def delete(self, broker: str, settings: LogSettings | None = None) -> None:
        """Everything of that broker goes, whether it is open or not (spec §12.10). Missing is no error.

        settings: what `open` would get, for one that is not open; its config may say where its events are.
        """
        ...

    def not_ready(self) -> str:
        """Why appends would fail now; "" when they would not."""
        ...

    async def close(self) -> None: ...
