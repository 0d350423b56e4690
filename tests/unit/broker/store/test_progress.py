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


@pytest.mark.parametrize("data", [b"", b"\x02\x01", b"\x01\x80"])
def test_what_was_not_written_by_encode_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="progress"):
        Progress.decode(data)


@given(st.integers(0, 2**63 - 1), st.sets(st.integers(0, 2**63 - 1)))
def test_encode_and_decode_agree(next_: int, open_: set[int]) -> None:
    progress = Progress(next_)
    progress.open = dict.fromkeys(open_, 0.0)
    back = Progress.decode(progress.encode())
    assert (back.next, back.open) == (progress.next, progress.open)


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
            self.settled.add(position)
            assert self.progress.settle(position)

    @rule(back=st.integers(0, 10))
    def seek(self, back: int) -> None:
        self.next = max(0, self.next - back)
        self.progress.seek(self.next)
        self.settled = {p for p in self.settled if p < self.next}

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
