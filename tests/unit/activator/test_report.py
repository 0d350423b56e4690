"""Reports in virtual time: spec §8.11, AC-05, AC-08."""

import pytest

from activator.report import PERIOD_S, Reporter
from dataplane.net.timers import NEVER
from dataplane.policy.meter import Meter


class Wheel:
    def __init__(self):
        self.now, self.entries = 0.0, []

    def at(self, entry, when):
        if when < entry.wake:
            entry.wake = when
            self.entries = [entry]

    def tick(self):
        self.now += PERIOD_S
        for entry in self.entries:
            self.entries, entry.wake = [], NEVER
            entry.on_timer(self.now)


class Hold:
    def __init__(self, wheel):
        self.key, self.meter, self.depth, self.usable = "d/r", Meter(0.0), 0, 0


@pytest.fixture
def bench():
    wheel, sent = Wheel(), []
    return wheel, Hold(wheel), sent, Reporter(reporter="gw", send=sent.extend, timers=wheel, clock=lambda: wheel.now)


def test_the_first_request_at_zero_is_announced_at_once_and_counts_once(bench):
    wheel, hold, sent, reporter = bench
    reporter.demand(hold, True)
    hold.meter.arrived(0.0)
    assert [(s.concurrency, s.requests, s.poke) for s in sent] == [(1.0, 1.0, True)]
    hold.usable = 1
    sent.clear()
    wheel.tick()
    assert [(s.concurrency, s.requests) for s in sent] == [(0.0, 0.0)]
    sent.clear()
    wheel.tick()
    assert [(s.concurrency, s.requests) for s in sent] == [(1.0, 0.0)]


def test_AC_05_five_thousand_at_zero_are_one_signal(bench):
    _, hold, sent, reporter = bench
    for _ in range(5000):
        reporter.demand(hold, True)
        hold.meter.arrived(0.0)
    assert len(sent) == 1


def test_AC_08_unanswered_demand_is_announced_again_every_second(bench):
    wheel, hold, sent, reporter = bench
    hold.depth = 3
    for _ in range(3):
        hold.meter.arrived(0.0)
    reporter.demand(hold, True)
    for _ in range(5):
        sent.clear()
        wheel.tick()
        assert [s.poke for s in sent] == [True]
        assert sent[0].concurrency >= 3


def test_after_activity_one_zero_is_sent_and_then_there_is_no_timer(bench):
    wheel, hold, sent, reporter = bench
    hold.usable = 1
    reporter.demand(hold, False)
    hold.meter.arrived(0.0)
    hold.meter.departed(0.5)
    wheel.tick()
    wheel.tick()
    assert (sent[-1].concurrency, sent[-1].requests) == (0.0, 0.0)
    assert wheel.entries == []
