"""What of a positioned log one trigger has settled: everything below `next` that is not open.

Path: fanout.py, kafka → [progress] → a cursor that survives a restart.

Positions are whole numbers that grow along the log and may have gaps (compaction, transactions, retention). A reader
takes them in log order and settles them in any order. Kept are the ones that are open, not the ones that are done: they
are few (what is in flight), a gap is settled without being named, and nothing ever has to be rebased.

What must survive is `low` for a log that can only say "from here" (Kafka: what is settled above it comes again), or
`encode()` for one that can say more.

Cost: take and settle are one dict operation each; `low` and `encode` look at what is open, once per commit.
Source: spec/eventing.md §11.4.
"""

from collections.abc import Iterator

from broker.store.varint import numbers, put

_FORMAT = 1


class Progress:
    """Progress of one trigger. Invariant: a position is unsettled when it is open or at least `next`."""

    __slots__ = ("next", "open")

    def __init__(self, start: int = 0) -> None:
        self.next = start  # the first position that was never read
        self.open: dict[int, float] = {}  # handed over and not settled → what the reader notes (arrival, wall seconds)

    def take(self, position: int, note: float = 0.0) -> bool:
        """`position` is handed over; whatever lies between `next` and it is settled. False: it already is open (a
        replay came by), and is not to be handed over again."""
        assert position >= self.next, "positions are read in log order"
        self.next = position + 1
        if position in self.open:
            return False
        self.open[position] = note
        return True

    def skip(self, to: int) -> None:
        """Everything from `next` up to, not including, `to` is settled: no match, a gap, undecodable."""
        if to > self.next:
            self.next = to

    def settle(self, position: int) -> bool:
        """False when it was not open: settled already, or fenced off by `lose`."""
        return self.open.pop(position, None) is not None

    def seek(self, to: int) -> None:
        """Read from `to` next. What is open stays open."""
        self.next = to

    def lose(self, below: int) -> int:
        """The log now begins at `below`. How many open positions are gone with what was before."""
        gone = [position for position in self.open if position < below]
        for position in gone:
            del self.open[position]
        self.skip(below)
        return len(gone)

    @property
    def low(self) -> int:
        """The lowest unsettled position: everything below it is settled."""
        return min(min(self.open, default=self.next), self.next)

    def is_settled(self, position: int) -> bool:
        return position < self.next and position not in self.open

    def settled_above(self) -> Iterator[tuple[int, int]]:
        """Ranges [begin, end) of settled positions above `low`, in order, up to `next`."""
        at = self.low
        for position in sorted(self.open):
            if position >= self.next:
                break
            if at < position:
                yield at, position
            at = position + 1
        if at < self.next:
            yield at, self.next

    def encode(self) -> bytes:
        """A format byte, `next`, and the distances between open positions: about a byte for each that is open."""
        out = bytearray((_FORMAT,))
        put(out, self.next)
        before = 0
        for position in sorted(self.open):
            put(out, position - before)
            before = position
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> "Progress":
        """What was open is open again, without notes. Raises ValueError for what `encode` did not write."""
        if not data or data[0] != _FORMAT:
            raise ValueError(f"progress of format {data[:1].hex() or 'none'}; this version reads {_FORMAT}")
        try:
            low, *distances = list(numbers(data[1:])) or [0]
        except ValueError as error:
            raise ValueError(f"progress is damaged: {error}") from None
        progress = cls(low)
        position = 0
        for distance in distances:
            position += distance
            progress.open[position] = 0.0
        return progress
