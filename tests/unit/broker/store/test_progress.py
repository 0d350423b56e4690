"""What is settled stays settled, what is not stays open: through any order, gaps, a seek and a restart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.store.progress import Progress


def test_the_lowest_unsettled_waits_for_the_slowest() -> None:
    progress = Progress(10)
    for position in (10, 11, 12):
        assert progress.take(position)
    assert progress.settle(12)
    assert progress.settle(11)
    assert progress.low == 10
    assert list(progress.settled_above()) == [(11, 13)]
    assert progress.settle(10)
    assert progress.low == 13
    assert list(progress.settled_above()) == []


def test_a_gap_is_settled_without_being_named() -> None:
    progress = Progress(0)
    progress.take(3)
    progress.take(7)
    assert progress.low == 3
    assert [p for p in range(9) if not progress.is_settled(p)] == [3, 7, 8]


def test_settling_twice_changes_nothing() -> None:
    progress = Progress(0)
    progress.take(0)
    assert progress.settle(0)
    assert not progress.settle(0)
    assert not progress.settle(99)


def test_a_replay_does_not_hand_over_what_is_open() -> None:
    progress = Progress(0)
    progress.take(0)
    progress.take(1)
    progress.settle(0)
    progress.seek(0)
    assert progress.take(0)
    assert not progress.take(1)
    assert progress.open.keys() == {0, 1}


def test_what_retention_took_is_gone_and_a_late_settle_of_it_is_fenced_off() -> None:
    progress = Progress(0)
    for position in range(4):
        progress.take(position)
    assert progress.lose(3) == 3
    assert progress.low == 3
    assert not progress.settle(1)
    assert progress.lose(100) == 1
    assert progress.next == 100


@pytest.mark.parametrize("data", [b"", b"\x03\x01", b"\x01", b"\x01\x80", b"\x02\x01", b"\x02\x05\x01\x02"])
def test_what_was_not_written_by_encode_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="progress"):
        Progress.decode(data)


@given(st.integers(0, 2**63 - 1), st.sets(st.integers(0, 2**63 - 1)), st.sets(st.integers(0, 2**63 - 1), max_size=32))
def test_encode_and_decode_agree(next_: int, open_: set[int], edges: set[int]) -> None:
    progress = Progress(next_)
    progress.open = dict.fromkeys(open_, 0.0)
    some = sorted(edges)
    progress.gaps = list(zip(some[::2], some[1::2], strict=False))
    back = Progress.decode(progress.encode())
    assert (back.next, back.open, back.gaps) == (progress.next, progress.open, progress.gaps)


def test_progress_of_the_first_version_is_read() -> None:
    progress = Progress.decode(b"\x01\x0a\x03\x02")
    assert (progress.next, progress.open.keys(), progress.gaps) == (10, {3, 5}, [])


def test_what_was_leapt_over_is_unsettled_until_it_is_read() -> None:
    progress = Progress(0)
    progress.take(0)
    progress.settle(0)
    progress.leap(100)
    progress.take(100)
    progress.settle(100)
    assert (progress.low, progress.next, progress.passed) == (1, 101, 99)
    assert list(progress.settled_above()) == [(100, 101)]
    assert progress.take_gap(50)
    assert (progress.low, progress.passed) == (50, 49)
    progress.settle(50)
    progress.skip_gap(100)
    assert (progress.low, progress.gaps) == (101, [])


def test_leaps_without_reading_in_between_are_one_gap() -> None:
    progress = Progress(0)
    progress.leap(10)
    progress.leap(20)
    assert progress.gaps == [(0, 20)]
    progress.skip(21)
    progress.leap(30)
    assert progress.gaps == [(0, 20), (21, 30)]
    assert progress.lose(25) == 24
    assert progress.gaps == [(25, 30)]


def test_a_hundred_in_flight_take_little_room() -> None:
    progress = Progress(10**9)
    for position in range(10**9, 10**9 + 100):
        progress.take(position)
    assert len(progress.encode()) < 120


class Reader(RuleBasedStateMachine):
    """Against a set of everything that was settled, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress(0)
        self.settled: set[int] = set()
        self.next = 0

    @rule(gap=st.integers(0, 3))
    def take(self, gap: int) -> None:
        position = self.next + gap
        self.settled.update(range(self.next, position))
        self.next = position + 1
        if position not in self.settled or position not in self.progress.open:
            self.settled.discard(position)
        self.progress.take(position)

    @rule(count=st.integers(0, 5))
    def skip(self, count: int) -> None:
        for position in range(self.next, self.next + count):
            if position not in self.progress.open:
                self.settled.add(position)
        self.next += count
        self.progress.skip(self.next)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if self.progress.open:
            position = data.draw(st.sampled_from(sorted(self.progress.open)))
            if not any(begin <= position < end for begin, end in self.progress.gaps):  # there a replay reads it again
                self.settled.add(position)
            assert self.progress.settle(position)

    @rule(back=st.integers(0, 10))
    def seek(self, back: int) -> None:
        passed = {p for begin, end in self.progress.gaps for p in range(begin, end)} - self.progress.open.keys()
        self.next = max(0, self.next - back)
        self.progress.seek(self.next)
        self.settled = {p for p in self.settled | passed if p < self.next}

    @rule(count=st.integers(0, 8))
    def leap(self, count: int) -> None:
        self.settled -= set(range(self.next, self.next + count))
        self.next += count
        self.progress.leap(self.next)

    @rule(ahead=st.integers(0, 8), take=st.booleans())
    def read_what_was_leapt_over(self, ahead: int, take: bool) -> None:
        progress = self.progress
        if not progress.gaps:
            return
        begin, end = progress.gaps[0]
        position = min(begin + ahead, end - 1)
        self.settled.update(set(range(begin, position)) - progress.open.keys())
        if take:
            progress.take_gap(position)
        else:
            progress.skip_gap(position)

    @rule(ahead=st.integers(0, 6))
    def lose(self, ahead: int) -> None:
        below = self.progress.low + ahead
        self.progress.lose(below)
        self.next = max(self.next, below)
        self.settled.update(range(below))

    @rule()
    def restart(self) -> None:
        self.progress = Progress.decode(self.progress.encode())

    @invariant()
    def they_agree(self) -> None:
        progress = self.progress
        top = self.next + 5
        unsettled = {p for p in range(top) if p not in self.settled and p < self.next} | set(range(self.next, top))
        unsettled |= {p for p in progress.open if p < top}
        assert {p for p in range(top) if not progress.is_settled(p)} == unsettled
        assert progress.low == min(unsettled | {self.next} | progress.open.keys())
        above = [p for begin, end in progress.settled_above() for p in range(begin, end)]
        assert above == [p for p in range(progress.low, self.next) if progress.is_settled(p)]


TestReader = Reader.TestCase
