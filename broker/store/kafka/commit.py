"""How what one trigger has settled of a partition fits into a commit of Kafka.

Path: partition.py ↔ [commit] ↔ OffsetCommit.

Kafka keeps one offset per partition: everything below it is done. What was settled above it, what was passed over, and
which attempt the rest is at, goes into the commit's metadata, so that a new owner repeats only what really was open.
Where it does not fit, the lowest open ones are kept and the rest comes again: all of it from there on, or, where
something was passed over, what lies between the first and the last of them.

    offset      the lowest unsettled one
    metadata    "1 UID WRITER BASE64" or "2 UID WRITER BASE64", and in BASE64 numbers in LEB128: how far behind the
                offset reading had come; in 2 how many ranges were passed over, and the distance of each edge from the
                one before; per open offset its distance from the one before, twice, plus one when an attempt and a due
                time (in tenths of a second) follow

UID is the trigger's: a trigger of the same name that was made anew starts anew. WRITER is whoever committed, so that a
process can tell that nobody else had the partition since. 2 is written only where there are ranges: a process that does
not know it takes the offset alone.

Bound: `METADATA_CHARS_MAX`; Kafka's default for `offset.metadata.max.bytes` is 4096.
Source: spec/eventing.md §11.4, §28.4.
"""

import base64
import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from broker.store.contract import PASSED_MAX
from broker.store.progress import Progress
from broker.store.varint import numbers, put

METADATA_CHARS_MAX = 4000
RANGES_MAX = 2 * PASSED_MAX  # those that were passed over, and those over what does not fit
_RANGES_BYTES = RANGES_MAX * 2 * 5
_PLAIN, _PASSED = "1", "2"


class Try(NamedTuple):
    """How an offset is to be handed over. due_at: wall seconds, 0 = now."""

    attempt: int = 1
    due_at: float = 0.0


FIRST = Try()


class Commit(NamedTuple):
    offset: int
    metadata: str


class Noted(NamedTuple):
    """What a commit says. gaps: [begin, end) in order; no hole lies in one."""

    next: int
    holes: dict[int, Try]
    gaps: list[tuple[int, int]]


def encode(progress: Progress, tries: Mapping[int, Try], uid: str, writer: str) -> Commit:
    """Looks at everything that is open. tries: of open ones that are not at their first attempt."""
    low, next_, gaps = progress.low, progress.next, progress.gaps
    head = f"{_PASSED if gaps else _PLAIN} {uid} {writer} "
    room = (METADATA_CHARS_MAX - len(head)) * 3 // 4 - 24 - (_RANGES_BYTES if gaps else 0)
    # What is open at `next` and beyond, or in a gap, is from before a seek back: it is read again anyway.
    offsets = sorted(offset for offset in progress.open if offset < next_)
    if gaps:
        offsets = [offset for offset in offsets if not _within(gaps, offset)]
    body = bytearray()
    before = low
    left: list[int] = []
    for at, offset in enumerate(offsets):
        noted = len(body)
        known = tries.get(offset)
        put(body, (offset - before) << 1 | (known is not None and known.attempt > 1))
        if known is not None and known.attempt > 1:
            put(body, known.attempt)
            put(body, int(known.due_at * 10))
        if len(body) > room:
            del body[noted:]
            left = offsets[at:]
            break
        before = offset
    whole = bytearray()
    if not gaps:
        put(whole, (left[0] if left else next_) - low)
    else:
        put(whole, next_ - low)
        ranges = _over(gaps, left) if left else gaps
        put(whole, len(ranges))
        before = low
        for edge in (edge for one in ranges for edge in one):
            put(whole, edge - before)
            before = edge
    return Commit(low, head + base64.b64encode(whole + body).decode())


def decode(commit: Commit) -> Noted | None:
    """None: the metadata is not ours."""
    words = commit.metadata.split(" ")
    if len(words) != 4 or words[0] not in (_PLAIN, _PASSED):
        return None
    holes: dict[int, Try] = {}
    gaps: list[tuple[int, int]] = []
    try:
        found = numbers(base64.b64decode(words[3], validate=True))
        next_ = commit.offset + next(found)
        at = commit.offset
        for _ in range(next(found) if words[0] == _PASSED else 0):
            begin = at + next(found)
            at = begin + next(found)
            gaps.append((begin, at))
        at = commit.offset
        for number in found:
            at += number >> 1
            holes[at] = Try(next(found), next(found) / 10) if number & 1 else FIRST
    except (ValueError, StopIteration):
        return None
    if gaps:
        holes = {hole: how for hole, how in holes.items() if not _within(gaps, hole)}
    return Noted(next_, holes, gaps)


def uid_of(metadata: str) -> str:
    """Whose progress a commit is; "" when it is not one of ours."""
    words = metadata.split(" ")
    return words[1] if len(words) == 4 and words[0] in (_PLAIN, _PASSED) else ""


def _within(gaps: Sequence[tuple[int, int]], offset: int) -> bool:
    at = bisect(gaps, (offset, math.inf)) - 1
    return at >= 0 and offset < gaps[at][1]


def _over(gaps: Sequence[tuple[int, int]], left: Sequence[int]) -> list[tuple[int, int]]:
    """The gaps, and one range over what is left between two of them. Too many: the nearest are joined."""
    begins = [begin for begin, _ in gaps]
    found = list(gaps)
    for _, some in groupby(left, key=lambda offset: bisect(begins, offset)):
        first, *more = some
        found.append((first, (more[-1] if more else first) + 1))
    found.sort()
    while len(found) > RANGES_MAX:
        at = min(range(1, len(found)), key=lambda i: found[i][0] - found[i - 1][1])
        found[at - 1 : at + 1] = [(found[at - 1][0], found[at][1])]
    return found
