import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dataplane.policy.breaker import Breaker, Verdict


def test_runs_until_capacity_then_waits_until_depth_then_turns_away():
    breaker = Breaker(capacity=1, depth_max=1)
    assert [breaker.arrive() for _ in range(3)] == [Verdict.RUN, Verdict.WAIT, Verdict.FULL]


def test_at_zero_pods_everyone_waits():
    breaker = Breaker(capacity=0, depth_max=10)
    assert breaker.arrive() is Verdict.WAIT
    assert breaker.resize(1) == 1


def test_shrinking_takes_no_slot_back():
    breaker = Breaker(capacity=2, depth_max=0)
    breaker.arrive(), breaker.arrive()
    assert breaker.resize(1) == 0
    assert breaker.running == 2
    assert breaker.finish() == 0


@pytest.mark.parametrize("bad", [{"capacity": -1, "depth_max": 0}, {"capacity": 0, "depth_max": -1}])
def test_rejects_negative_sizes(bad):
    with pytest.raises(ValueError, match="must be >= 0"):
        Breaker(**bad)


class BreakerLaws(RuleBasedStateMachine):
    """Any order of arrivals, ends, give-ups and resizes keeps the two invariants,
    and no request is created or lost: arrived == running + waiting + gone."""

    def __init__(self):
        super().__init__()
        self.breaker = Breaker(capacity=2, depth_max=3)
        self.arrived = self.gone = 0

    @rule()
    def arrive(self):
        self.arrived += 1
        if self.breaker.arrive() is Verdict.FULL:
            self.gone += 1

    @precondition(lambda self: self.breaker.running)
    @rule()
    def finish(self):
        self.breaker.finish()
        self.gone += 1

    @precondition(lambda self: self.breaker.waiting)
    @rule()
    def abandon(self):
        self.breaker.abandon()
        self.gone += 1

    @rule(capacity=st.integers(0, 5))
    def resize(self, capacity):
        self.breaker.resize(capacity)

    @invariant()
    def holds(self):
        b = self.breaker
        assert 0 <= b.waiting <= b.depth_max
        assert not b.waiting or b.running >= b.capacity
        assert self.arrived == b.running + b.waiting + self.gone


TestBreakerLaws = BreakerLaws.TestCase
