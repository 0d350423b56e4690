"""What of one partition one trigger has settled, and how that fits into a commit of Kafka.

Path: read.py → [partition] → OffsetCommit, and back after a restart or a rebalance.

Kafka keeps one offset per partition: everything below it is done. What was settled above it, and which attempt the rest
is at, goes into the commit's metadata, so that a new owner repeats only what really was open. Where it does not fit the
lowest open ones are kept and the rest comes again.

    offset      the lowest unsettled one
    metadata    "1 UID WRITER BASE64", and in BASE64 numbers in LEB128: how far behind the offset reading had come; per
                open offset its distance from the one before, twice, plus one when an attempt and a due time (in tenths
                of a second) follow

UID is the trigger's: a trigger of the same name that was made anew starts anew. WRITER is whoever committed, so that a
process can tell that nobody else had the partition since.

Bound: `METADATA_CHARS_MAX`; Kafka's default for `offset.metadata.max.bytes` is 4096.
Source: spec/eventing.md §11.4, §28.4.
"""

import base64
from typing import NamedTuple

from broker.store.progress import Progress
from broker.store.varint import numbers, put

METADATA_CHARS_MAX = 4000
_FORMAT = "1"


class Try(NamedTuple):
    """How an offset is to be handed over. due_at: wall seconds, 0 = now."""

    attempt: int = 1
    due_at: float = 0.0


FIRST = Try()


class Commit(NamedTuple):
    offset: int
    metadata: str


class Partition:
    """Of one trigger, as long as this process owns it.

    `holes` are the offsets below `progress.next` that a former owner left open and that were not read again yet.
    """

    __slots__ = ("alive", "committed", "dirty", "holes", "kept", "moved", "number", "out", "progress", "tries")

    def __init__(self, number: int, start: int) -> None:
        self.number = number
        self.progress = Progress(start)
        self.holes: dict[int, Try] = {}
        self.tries: dict[int, Try] = {}  # of open ones that are not at their first attempt
        self.committed = Commit(start, "")
        self.dirty = False  # something ended: to be committed soon
        self.moved = False  # reading went on: to be committed sometime, a restart would only read it again
        self.out = 0  # how many the consumer has
        self.kept: set[int] = set()  # settled by what stands in the kept topic, which the commit need not say yet
        self.alive = True  # False: it belongs to somebody else now, and whatever completes late is abandoned

    @classmethod
    def restore(cls, number: int, commit: Commit) -> "Partition":
        """From what was committed. Metadata that is not ours counts as an offset alone."""
        partition = cls(number, commit.offset)
        partition.committed = commit
        noted = _decode(commit)
        if noted is not None:
            next_, holes = noted
            partition.progress.seek(next_)
            for offset in holes:
                partition.progress.open[offset] = 0.0
            partition.holes = holes
        return partition

    @property
    def fetch_from(self) -> int:
        """Where reading starts: the lowest hole, else what was never read."""
        return min(self.holes, default=self.progress.next)

    def take(self, offset: int, arrived_at: float) -> Try | None:
        """The record at `offset` was read: how to hand it over; None: settled already, or with the consumer."""
        progress = self.progress
        if self.kept and offset in self.kept:
            self.kept.discard(offset)
            self.skip(offset)
            return None
        if offset >= progress.next:
            if not progress.take(offset, arrived_at):
                return None
            self.moved = True
            return FIRST
        hole = self.holes.pop(offset, None)
        if hole is not None:
            progress.open[offset] = arrived_at
            if hole is not FIRST:
                self.tries[offset] = hole
        return hole

    def skip(self, offset: int) -> None:
        """What was read up to and with `offset` is nothing for this trigger."""
        self.progress.skip(offset + 1)
        if self.holes and self.holes.pop(offset, None) is not None:
            self.progress.settle(offset)
        self.moved = True

    def passed(self, end: int) -> None:
        """Everything below `end` was read, and what there was for this trigger was taken."""
        for hole in [hole for hole in self.holes if hole < end] if self.holes else ():
            del self.holes[hole]
            self.progress.settle(hole)
        self.progress.skip(end)
        self.moved = True

    def jump(self, offset: int) -> int:
        """Where to read on after `offset`: past whatever is settled below `progress.next`."""
        if offset >= self.progress.next:
            return offset
        return min((hole for hole in self.holes if hole >= offset), default=self.progress.next)

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

    def lost(self, begin: int) -> int:
        """The log begins at `begin` now. How many records are gone that this trigger had not settled."""
        unread = max(0, begin - self.progress.next)
        for offset in [offset for offset in self.holes if offset < begin]:
            del self.holes[offset]
            self.progress.settle(offset)
            unread += 1
        self.progress.skip(begin)
        self.dirty = True
        return unread

    def cut(self, end: int) -> int:
        """The log ends at `end` now, before what was read (an unclean election): what comes there is new."""
        for offset in [offset for offset in self.progress.open if offset >= end]:
            del self.progress.open[offset]
            self.tries.pop(offset, None)
            self.holes.pop(offset, None)
        back = max(0, self.progress.next - end)
        self.progress.seek(end)
        self.dirty = True
        return back

    def seek(self, offset: int) -> None:
        """Read from `offset` next. What the consumer has it keeps; holes from there on are simply read again."""
        for hole in [hole for hole in self.holes if hole >= offset or offset >= self.progress.next]:
            del self.holes[hole]
            self.progress.settle(hole)
        self.kept.clear()  # a replay hands over again what became a letter
        self.progress.seek(offset)
        self.dirty = True

    def commit(self, uid: str, writer: str) -> Commit:
        """What to commit now. Looks at everything that is open."""
        progress = self.progress
        offsets = sorted(progress.open)
        low = min(offsets[0], progress.next) if offsets else progress.next
        head = f"{_FORMAT} {uid} {writer} "
        room = (METADATA_CHARS_MAX - len(head)) * 3 // 4 - 24
        next_ = progress.next
        body = bytearray()
        before = low
        for offset in offsets:
            if offset >= next_:
                break  # open from before a seek back: it is read again anyway
            noted = len(body)
            known = self.tries.get(offset) or self.holes.get(offset)
            put(body, (offset - before) << 1 | (known is not None and known.attempt > 1))
            if known is not None and known.attempt > 1:
                put(body, known.attempt)
                put(body, int(known.due_at * 10))
            if len(body) > room:
                del body[noted:]
                next_ = offset  # from here on everything comes again
                break
            before = offset
        whole = bytearray()
        put(whole, next_ - low)
        return Commit(low, head + base64.b64encode(whole + body).decode())


def uid_of(metadata: str) -> str:
    """Whose progress a commit is; "" when it is not one of ours."""
    words = metadata.split(" ")
    return words[1] if len(words) == 4 and words[0] == _FORMAT else ""


def _decode(commit: Commit) -> tuple[int, dict[int, Try]] | None:
    words = commit.metadata.split(" ")
    if len(words) != 4 or words[0] != _FORMAT:
        return None
    holes: dict[int, Try] = {}
    try:
        found = numbers(base64.b64decode(words[3], validate=True))
        next_ = commit.offset + next(found)
        at = commit.offset
        for number in found:
            at += number >> 1
            holes[at] = Try(next(found), next(found) / 10) if number & 1 else FIRST
    except (ValueError, StopIteration):
        return None
    return next_, holes
