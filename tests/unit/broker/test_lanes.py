"""Order per key under any interleaving; nothing lost, nothing doubled."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.lanes import Lanes


def test_a_lane_gives_one_at_a_time_oldest_first():
    lanes = Lanes(4)
    lane = lanes.lane("a")
    for item in (1, 2, 3):
        lanes.add(lane, item)
    assert (lanes.take(), lanes.take(), len(lanes)) == (1, None, 2)
    lanes.free(lane)
    assert (lanes.take(), lanes.take()) == (2, None)


def test_a_lane_that_is_held_does_not_hold_the_others():
    lanes = Lanes(64)
    keys = [f"key-{i}" for i in range(64)]
    first = lanes.lane(keys[0])
    other = next(lanes.lane(k) for k in keys if lanes.lane(k) != first)
    lanes.add(first, "stuck")
    lanes.add(first, "behind it")
    lanes.add(other, "free")
    assert [lanes.take(), lanes.take(), lanes.take()] == ["stuck", "free", None]


def test_lanes_take_turns():
    lanes = Lanes(2)
    for i in range(3):
        lanes.add(0, f"a{i}")
        lanes.add(1, f"b{i}")
    seen = []
    for _ in range(3):
        for _ in range(2):
            seen.append(lanes.take())
        for lane in (0, 1):
            lanes.free(lane)
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


@given(st.text(), st.integers(1, 4096))
def test_a_key_has_one_lane(key, count):
    lanes = Lanes(count)
    assert 0 <= lanes.lane(key) < count
    assert lanes.lane(key) == lanes.lane(key)


class AnyInterleaving(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.lanes = Lanes(3)
        self.added = defaultdict(list)
        self.got = defaultdict(list)
        self.held = {}
        self.number = 0

    @rule(key=st.sampled_from("abcdefgh"))
    def add(self, key):
        self.number += 1
        lane = self.lanes.lane(key)
        self.added[key].append(self.number)
        self.lanes.add(lane, (key, self.number))

    @rule()
    def take(self):
        item = self.lanes.take()
        if item is None:
            waiting = {k for k in self.added if len(self.got[k]) < len(self.added[k])}
            assert all(self.lanes.lane(k) in self.held for k in waiting), "a free lane kept its event back"
            return
        key, number = item
        lane = self.lanes.lane(key)
        assert lane not in self.held, "two of one lane at once"
        self.held[lane] = item
        self.got[key].append(number)

    @rule(pick=st.integers(0, 10))
    def free(self, pick):
        if self.held:
            lane = sorted(self.held)[pick % len(self.held)]
            del self.held[lane]
            self.lanes.free(lane)

    @rule(rest=st.integers(0, 3))
    def drop(self, rest):
        gone = self.lanes.drop(lambda item: item[1] % 4 != rest)
        for key, numbers in self.added.items():
            waiting = numbers[len(self.got[key]) :]
            assert [n for k, n in gone if k == key] == [n for n in waiting if n % 4 == rest]
            self.added[key] = self.got[key] + [n for n in waiting if n % 4 != rest]

    @invariant()
    def in_order_and_each_once(self):
        for key, got in self.got.items():
            assert got == self.added[key][: len(got)]
        assert len(self.lanes) == sum(map(len, self.added.values())) - sum(map(len, self.got.values()))


TestAnyInterleaving = AnyInterleaving.TestCase
