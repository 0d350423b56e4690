"""Who may follow the reader that all triggers share."""

import pytest

from broker.store.kafka.partition import Partition
from broker.store.kafka.tail import AHEAD_MAX, Follower, Tail
from dataplane.telemetry.metrics import Cell
from dataplane.wire.cloudevents import Event


class Trigger(Follower):
    """Follower and consumer in one."""

    interest, ordered = None, False

    def __init__(self, key: str) -> None:
        self.consumer = self
        self.key = self.name = key

    def matches(self, event: Event) -> bool:
        return True


@pytest.fixture
async def tail() -> Tail:
    return Tail(None, "topic", {}, Cell())


async def test_whoever_comes_first_says_where_it_is(tail: Tail) -> None:
    assert tail.follow(Trigger("a"), Partition(0, 100))
    assert tail.next == {0: 100}
    assert tail.follow(Trigger("b"), Partition(0, 100))


async def test_behind_it_nobody_follows(tail: Tail) -> None:
    tail.follow(Trigger("a"), Partition(0, 100))
    assert not tail.follow(Trigger("b"), Partition(0, 99))


async def test_far_ahead_of_one_that_is_behind_nobody_waits_for_it(tail: Tail) -> None:
    tail.follow(Trigger("a"), Partition(0, 100))
    assert tail.follow(Trigger("b"), Partition(0, 100 + AHEAD_MAX))
    assert not tail.follow(Trigger("c"), Partition(0, 101 + AHEAD_MAX))


async def test_what_was_left_open_is_read_first_unless_it_lies_apart(tail: Tail) -> None:
    left = Partition(0, 0)
    for offset in range(10):
        left.take(offset, 1.0)
    open_ = Partition.restore(0, left.commit("uid", "writer"))
    assert not tail.follow(Trigger("a"), open_)
    open_.leap(50)
    assert tail.follow(Trigger("a"), open_)
    assert tail.next == {0: 50}
