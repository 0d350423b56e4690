"""What of one partition one trigger has settled, and what of it is still to be read.

Path: read.py, passed.py → [partition] → commit.py, and back after a restart or a rebalance.

      settled    ● ○ ● ● ○ ● [ passed over )  ● ● ○ ● ● |next: new
                   │     │    read by passed.py     │
                   └ holes: a former owner, or the consumer, left them open; they are read again

New is what lies at `progress.next` and beyond. Below it, what is unread is read before what is new; *apart* from it, by
a reader of its own, as soon as a range was passed over (`Subscription.newest_first`), until nothing of it is left.

Source: spec/eventing.md §11.4, §28.4.
"""

from broker.store.contract import PASSED_MAX
from broker.store.kafka.commit import FIRST, Commit, Try, decode, encode
from broker.store.progress import Progress


class Partition:
    """Of one trigger, as long as this process owns it.

    `holes` are the offsets below `progress.next` that a former owner left open, or the consumer let go, and that were
    not read again yet.
    """

    __slots__ = (
        *("alive", "committed", "dirty", "kept", "moved", "number", "out"),
        *("apart", "holes", "progress", "tries"),
    )

    def __init__(self, number: int, start: int) -> None:
        self.number = number
        self.progress = Progress(start)
        self.holes: dict[int, Try] = {}
        self.tries: dict[int, Try] = {}  # of open ones that are not at their first attempt
        self.apart = False  # what is unread below `next` does not hold up what is new
        self.committed = Commit(start, "")
        self.dirty = False  # something ended: to be committed soon
        self.moved = False  # reading went on: to be committed sometime, a restart would only read it again
        self.out = 0  # how many the consumer has
        self.kept: set[int] = set()  # settled by what stands in the kept topic, which the commit need not say yet
        self.alive = True  # False: it belongs to somebody else now, and whatever completes late is abandoned

    @classmethod
    def restore(cls, number: int, commit: Commit, *, ordered: bool = False) -> "Partition":
        """From what was committed. Metadata that is not ours counts as an offset alone. An ordered trigger has no
        ranges; where it was unordered before, it begins with the first of them."""
        partition = cls(number, commit.offset)
        partition.committed = commit
        noted = decode(commit)
        if noted is not None:
            next_, holes, gaps = noted
            if ordered and gaps:
                next_, gaps = gaps[0][0], []
                holes = {hole: how for hole, how in holes.items() if hole < next_}
            partition.progress.seek(next_)
            partition.progress.gaps = gaps
            for offset in holes:
                partition.progress.open[offset] = 0.0
            partition.holes = holes
            partition.apart = bool(gaps)
        return partition

    # ---- reading ----

    @property
    def fetch_from(self) -> int:
        """Where reading starts: the lowest hole, else what was never read."""
        return self.progress.next if self.apart else min(self.holes, default=self.progress.next)

    def take(self, offset: int, arrived_at: float) -> Try | None:
        """The record at `offset` was read: how to hand it over; None: settled already, with the consumer, or apart."""
        progress = self.progress
        if self.kept and offset in self.kept and (offset >= progress.next or not self.apart):
            self.kept.discard(offset)
            progress.skip(offset + 1)
            if self.holes.pop(offset, None) is not None:
                progress.settle(offset)
            self.moved = True
            return None
        if offset >= progress.next:
            if not progress.take(offset, arrived_at):
                return None
            self.moved = True
            return FIRST
        return None if self.apart else self._take_hole(offset, arrived_at)

    def _take_hole(self, offset: int, arrived_at: float) -> Try | None:
        hole = self.holes.pop(offset, None)
        if hole is not None:
            self.progress.open[offset] = arrived_at
            if hole is not FIRST:
                self.tries[offset] = hole
        return hole

    def passed(self, end: int) -> None:
        """Everything below `end` was read, and what there was for this trigger was taken."""
        if self.holes and not self.apart:
            self._settle_holes(end)
        self.progress.skip(end)
        self.moved = True

    def _settle_holes(self, end: int) -> None:
        for hole in [hole for hole in self.holes if hole < end]:
            del self.holes[hole]
            self.progress.settle(hole)

    def jump(self, offset: int) -> int:
        """Where to read on after `offset`: past whatever is settled below `progress.next`."""
        if offset >= self.progress.next or self.apart:
            return max(offset, self.progress.next)
        return min((hole for hole in self.holes if hole >= offset), default=self.progress.next)

    # ---- reading what was passed over ----

    def leap(self, to: int) -> bool:
        """What is unread below `to` is passed over. False: there is nothing, or PASSED_MAX ranges wait already."""
        progress = self.progress
        if to <= progress.next or (len(progress.gaps) >= PASSED_MAX and progress.gaps[-1][1] != progress.next):
            return False
        progress.leap(to)
        self.apart = self.dirty = True
        return True

    def unread_from(self, offset: int) -> int | None:
        """The first one from `offset` on that is a hole or was passed over."""
        hole = min((hole for hole in self.holes if hole >= offset), default=None)
        gap = next((max(begin, offset) for begin, end in self.progress.gaps if end > offset), None)
        return hole if gap is None else gap if hole is None else min(hole, gap)

    def is_unread(self, offset: int) -> bool:
        return offset in self.holes or any(begin <= offset < end for begin, end in self.progress.gaps)

    def take_apart(self, offset: int, arrived_at: float) -> Try | None:
        """As `take`, of what lies apart: in the order of the log."""
        if self.kept and offset in self.kept:
            self.kept.discard(offset)
            self.passed_apart(offset + 1)
            return None
        gaps = self.progress.gaps
        while gaps and gaps[0][1] <= offset:
            del gaps[0]
        how = None
        if offset in self.holes:
            how = self._take_hole(offset, arrived_at)
        elif gaps and offset >= gaps[0][0]:
            self.moved = True
            how = FIRST if self.progress.take_gap(offset, arrived_at) else None
        self.apart = bool(gaps or self.holes)
        return how

    def passed_apart(self, end: int) -> None:
        """As `passed`, of what lies apart."""
        self._settle_holes(end)
        gaps = self.progress.gaps
        while gaps and gaps[0][0] < end:
            self.progress.skip_gap(end)
        self.apart = bool(gaps or self.holes)
        self.moved = True

    # ---- what ends ----

    def settle(self, offset: int) -> bool:
        if not self.alive or not self.progress.settle(offset):
            return False
        if self.tries:
            self.tries.pop(offset, None)
        self.dirty = True
        return True

    def again(self, offset: int, attempt: int, due_at: float) -> bool:
        if not self.alive or offset not in self.progress.open:
            return False
        self.tries[offset] = Try(attempt, due_at)
        self.dirty = True
        return True

    def let_go(self, offset: int) -> bool:
        """The consumer has it no more and did nothing: a hole. Nothing may be read before it is placed anew."""
        progress = self.progress
        if not self.alive or offset not in progress.open:
            return False
        how = self.tries.pop(offset, FIRST)
        if offset < progress.next and not any(begin <= offset < end for begin, end in progress.gaps):
            self.holes[offset] = how
        else:
            del progress.open[offset]  # from before a seek back: it is read again anyway
        return True

    # ---- a log that is not what it was, a seek ----

    def lost(self, begin: int) -> int:
        """The log begins at `begin` now. How many records are gone that this trigger had not settled."""
        progress = self.progress
        unread = max(0, begin - progress.next)
        unread += sum(hole < begin for hole in self.holes)
        unread += sum(max(0, min(end, begin) - first) for first, end in progress.gaps)
        apart = self.apart
        self.passed_apart(begin)
        self.apart = apart and self.apart
        progress.skip(begin)
        self.dirty = True
        return unread

    def cut(self, end: int) -> int:
        """The log ends at `end` now, before what was read (an unclean election): what comes there is new."""
        progress = self.progress
        for offset in [offset for offset in progress.open if offset >= end]:
            del progress.open[offset]
            self.tries.pop(offset, None)
            self.holes.pop(offset, None)
        back = max(0, progress.next - end)
        gaps = [(first, min(last, end)) for first, last in progress.gaps if first < end]
        progress.seek(min(progress.next, end))
        progress.gaps = gaps
        self.apart = bool(gaps or (self.apart and self.holes))
        self.dirty = True
        return back

    def seek(self, offset: int) -> None:
        """Read from `offset` next. What the consumer has it keeps; holes from there on are simply read again."""
        for hole in [hole for hole in self.holes if hole >= offset or offset >= self.progress.next]:
            del self.holes[hole]
            self.progress.settle(hole)
        self.kept.clear()  # a replay hands over again what became a letter
        self.progress.seek(offset)
        self.apart = False
        self.dirty = True

    def commit(self, uid: str, writer: str) -> Commit:
        """What to commit now."""
        return encode(self.progress, self.holes | self.tries if self.holes else self.tries, uid, writer)
