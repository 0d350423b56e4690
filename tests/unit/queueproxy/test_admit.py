"""The gate: who runs, who waits, in which order, under any interleaving."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dataplane.errors import QueueFull
from dataplane.telemetry.metrics import Cell
from queueproxy.admit import WAITING_PER_SLOT, Gate


class Request:
    def __init__(self) -> None:
        self.calls = 0
        self.then = lambda: None

    def admitted(self) -> None:
        self.calls += 1
        self.then()


def test_one_slot_holds_eleven_and_refuses_the_twelfth():
    gate = Gate(concurrency=1, depth=Cell())
    assert [gate.enter(Request()) for _ in range(11)] == [True, *[False] * 10]
    with pytest.raises(QueueFull):
        gate.enter(Request())


def test_without_a_limit_everybody_runs():
    gate = Gate(concurrency=0, depth=Cell())
    assert all(gate.enter(Request()) for _ in range(1000))
    gate.leave()


def test_the_depth_is_the_number_of_waiters():
    depth = Cell()
    gate = Gate(concurrency=1, depth=depth)
    requests = [Request() for _ in range(4)]
    seen = []
    for request in requests:
        gate.enter(request)
        seen.append(depth.v)
    gate.abandon(requests[2])
    seen.append(depth.v)
    gate.leave()
    seen.append(depth.v)
    assert seen == [0, 1, 2, 3, 2, 1]


def test_waiters_that_leave_at_once_when_admitted_pass_the_slot_on_without_nesting():
    gate = Gate(concurrency=500, depth=Cell())
    for _ in range(500):
        gate.enter(Request())
    waiters = [Request() for _ in range(5000)]
    for waiter in waiters:
        waiter.then = gate.leave
        gate.enter(waiter)
    gate.leave()
    assert {w.calls for w in waiters} == {1}
    assert gate.enter(Request())
    assert not gate.enter(Request())


@given(st.integers(1, 20), st.integers(0, 400))
def test_a_stampede_splits_into_running_waiting_and_refused(concurrency, count):
    gate = Gate(concurrency=concurrency, depth=Cell())
    running = waiting = refused = 0
    for _ in range(count):
        try:
            if gate.enter(Request()):
                running += 1
            else:
                waiting += 1
        except QueueFull:
            refused += 1
    assert running == min(count, concurrency)
    assert waiting == min(count - running, WAITING_PER_SLOT * concurrency)
    assert refused == count - running - waiting


class Anything(RuleBasedStateMachine):
    """Requests enter, end and leave the line in any order; a model says who must run."""

    @initialize(concurrency=st.integers(1, 3))
    def begin(self, concurrency):
        self.concurrency = concurrency
        self.gate = Gate(concurrency=concurrency, depth=Cell())
        self.running: list[Request] = []
        self.line: list[Request] = []
        self.admitted: list[Request] = []

    @rule()
    def enter(self):
        request = Request()
        request.then = lambda: self.admitted.append(request)
        try:
            if self.gate.enter(request):
                assert len(self.running) < self.concurrency
                assert not self.line, "overtook the line"
                self.running.append(request)
            else:
                assert len(self.running) == self.concurrency
                self.line.append(request)
        except QueueFull:
            assert len(self.line) == WAITING_PER_SLOT * self.concurrency
        assert not self.admitted

    @rule(data=st.data())
    def leave(self, data):
        if not self.running:
            return
        self.running.remove(data.draw(st.sampled_from(self.running)))
        self.gate.leave()
        if self.line:
            first = self.line.pop(0)
            assert self.admitted == [first], "not the oldest, or not exactly one"
            self.running.append(first)
        assert len(self.admitted) <= 1
        self.admitted.clear()

    @rule(data=st.data())
    def abandon(self, data):
        if self.line:
            request = data.draw(st.sampled_from(self.line))
            self.line.remove(request)
            self.gate.abandon(request)
        assert not self.admitted

    @invariant()
    def nobody_waits_beside_a_free_slot(self):
        if hasattr(self, "gate"):
            assert len(self.gate) == len(self.line)
            assert not self.line or len(self.running) == self.concurrency
            assert all(r.calls <= 1 for r in (*self.line, *self.running))


TestAnything = Anything.TestCase
