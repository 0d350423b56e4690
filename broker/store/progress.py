"""What of a positioned log one trigger has settled: everything below `next` that is neither open nor passed over.

Path: fanout.py, kafka → [progress] → a cursor that survives a restart.

Positions are whole numbers that grow along the log and may have gaps (compaction, transactions, retention). A reader
takes them in log order and settles them in any order. Kept are the ones that are open, not the ones that are done: they
are few (what is in flight), a gap is settled without being named, and nothing ever has to be rebased.

A reader may leap: what lies between `next` and where it goes on is a *gap*, read later, beside what is new. Gaps lie
below `next`, do not touch and are read lowest first, in order, so that of each only its beginning moves.

What must survive is `low` for a log that can only say "from here" (Kafka: what is settled above it comes again), or
`encode()` for one that can say more.

Cost: take and settle are one dict operation each; `low` and `encode` look at what is open, once per commit.
Source: spec/eventing.md §11.4.
"""

from collections.abc import Iterator
from itertools import accumulate

from broker.store.varint import numbers, put

_PLAIN, _WITH_GAPS = 1, 2  # formats; an older version reads the first


class Progress:
    """Progress of one trigger. Invariant: a position is unsettled when it is open, in a gap, or at least `next`."""

    __slots__ = ("gaps", "next", "open")

    def __init__(self, start: int = 0) -> None:
        self.next = start  # the first position that was never read
        self.open: dict[int, float] = {}  # handed over and not settled → what the reader notes (arrival, wall seconds)
        self.gaps: list[tuple[int, int]] = []  # [begin, end) that were passed over and not read yet, in order

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

    def leap(self, to: int) -> None:
        """Read from `to` next; what lies between is passed over for now."""
        if to > self.next:
            if self.gaps and self.gaps[-1][1] == self.next:
                self.gaps[-1] = (self.gaps[-1][0], to)
            else:
                self.gaps.append((self.next, to))
            self.next = to

    def take_gap(self, position: int, note: float = 0.0) -> bool:
        """As `take`, in the first gap: whatever lies between its beginning and `position` is settled."""
        assert self.gaps[0][0] <= position < self.gaps[0][1], "gaps are read lowest first, and each in order"
        self.skip_gap(position + 1)
        if position in self.open:
            return False
        self.open[position] = note
        return True

    def skip_gap(self, to: int) -> None:
        """As `skip`, in the first gap, which ends when nothing is left of it."""
        begin, end = self.gaps[0]
        if to >= end:
            del self.gaps[0]
        elif to > begin:
            self.gaps[0] = (to, end)

    def settle(self, position: int) -> bool:
        """False when it was not open: settled already, or fenced off by `lose`."""
        return self.open.pop(position, None) is not None

    def seek(self, to: int) -> None:
        """Read from `to` next, and nothing that was passed over. What is open stays open."""
        self.next = to
        self.gaps.clear()

    def lose(self, below: int) -> int:
        """The log now begins at `below`. How many positions that were open or passed over are gone with what was
        before."""
        gone = [position for position in self.open if position < below]
        for position in gone:
            del self.open[position]
        passed = 0
        while self.gaps and self.gaps[0][0] < below:
            begin, end = self.gaps[0]
            passed += min(end, below) - begin
            self.skip_gap(below)
        self.skip(below)
        return len(gone) + passed

    @property
    def passed(self) -> int:
        """How many positions were passed over and not read yet."""
        return sum(end - begin for begin, end in self.gaps)

    @property
    def low(self) -> int:
        """The lowest unsettled position: everything below it is settled."""
        low = min(min(self.open, default=self.next), self.next)
        return min(low, self.gaps[0][0]) if self.gaps else low

    def is_settled(self, position: int) -> bool:
        return (
            position < self.next
            and position not in self.open
            and not any(begin <= position < end for begin, end in self.gaps)
        )

    def settled_above(self) -> Iterator[tuple[int, int]]:
        """Ranges [begin, end) of settled positions above `low`, in order, up to `next`."""
        at = self.low
        unsettled = [(position, position + 1) for position in self.open if position < self.next]
        for begin, end in sorted([*unsettled, *self.gaps]):
            if at < begin:
                yield at, begin
            at = max(at, end)
        if at < self.next:
            yield at, self.next

    def encode(self) -> bytes:
        """A format byte, `next`, how many gaps and from where to where if there are any, and the distances between open
        positions: about a byte for each that is open."""
        out = bytearray((_WITH_GAPS if self.gaps else _PLAIN,))
        put(out, self.next)
        if self.gaps:
            put(out, len(self.gaps))
            before = 0
            for edge in (edge for gap in self.gaps for edge in gap):
                put(out, edge - before)
                before = edge
        before = 0
        for position in sorted(self.open):
            put(out, position - before)
            before = position
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> "Progress":
        """What was open is open again, without notes. Raises ValueError for what `encode` did not write."""
        if not data or data[0] not in (_PLAIN, _WITH_GAPS):
            raise ValueError(f"progress of format {data[:1].hex() or 'none'}; this version reads 1 and 2")
        try:
            found = list(numbers(data[1:]))
        except ValueError as error:
            raise ValueError(f"progress is damaged: {error}") from None
        gaps, at = (0, 1) if data[0] == _PLAIN else (found[1] if len(found) > 1 else 0, 2)
        edges = list(accumulate(found[at : at + 2 * gaps]))
        if len(found) < at or len(edges) < 2 * gaps:
            raise ValueError(f"progress is damaged: {len(found)} numbers are too few")
        progress = cls(found[0])
        progress.gaps = list(zip(edges[::2], edges[1::2], strict=True))
        at += len(edges)
        position = 0
        for distance in found[at:]:
            position += distance
            progress.open[position] = 0.0
        return progress
