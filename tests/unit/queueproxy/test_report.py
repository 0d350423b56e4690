"""Reports of §9.9 in virtual time."""

import asyncio

from dataplane.net.timers import Timers
from dataplane.testing.clock import VirtualTimeLoop
from dataplane.wire.stats import Stat
from queueproxy.report import Traffic

KEY = "default/hello-00001"


def make(loop, sent=None):
    sent = [] if sent is None else sent
    return Traffic(revision=KEY, pod="pod-1", clock=loop.clock(), timers=Timers(loop), send=sent.extend)


def run(script):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        return runner.run(script(loop))


async def at(loop, when):
    await asyncio.sleep(when - loop.time())


def at_times(script):
    """Apply (time, call) pairs to a Traffic whose own timer is not started; calls get `now`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        traffic = make(runner.get_loop())
        out = []
        for now, call in script:
            if call == "tick":
                traffic.on_timer(now)
                out.append((traffic.last.concurrency, traffic.last.requests))
            else:
                getattr(traffic, call)(now, proxied=False)
        traffic.close()
        return [(round(c, 9), round(r, 9)) for c, r in out]


def test_one_request_for_half_of_the_interval():
    # count 1 in 6 s is 1/6 per second: counts are told as rates
    assert at_times([(0, "arrived"), (3, "departed"), (6, "tick")]) == [(0.5, round(1 / 6, 9))]


def test_two_interleaved_requests():
    script = [(0, "arrived"), (0.1, "arrived"), (0.6, "departed"), (1.0, "departed"), (1.0, "tick")]
    assert at_times(script) == [(1.5, 2)]


def test_a_request_that_spans_two_reports_is_counted_in_the_first():
    script = [(0, "arrived"), (1, "tick"), (1.5, "departed"), (2, "tick")]
    assert at_times(script) == [(1.0, 1), (0.5, 0)]


def test_a_report_a_second_while_there_is_load_then_one_zero_then_rest():
    async def script(loop):
        sent: list[Stat] = []
        traffic = make(loop, sent)
        await at(loop, 10.0)
        assert sent == []
        assert len(traffic._timers) == 0  # an idle pod costs no timer
        traffic.arrived(loop.time(), proxied=False)
        await at(loop, 12.5)
        traffic.departed(loop.time(), proxied=False)
        await at(loop, 30.0)
        assert len(traffic._timers) == 0
        return [(s.revision, s.reporter, round(s.concurrency, 1), round(s.requests, 1)) for s in sent]

    # timers are called up to 50 ms late, so the intervals drift by that much
    assert run(script) == [
        (KEY, "pod-1", 1.0, 1.0),
        (KEY, "pod-1", 1.0, 0.0),
        (KEY, "pod-1", 0.4, 0.0),
        (KEY, "pod-1", 0.0, 0.0),
    ]


def test_proxied_requests_are_part_of_the_totals_and_told_apart():
    async def script(loop):
        sent: list[Stat] = []
        traffic = make(loop, sent)
        traffic.arrived(0.0, proxied=True)
        traffic.arrived(0.0, proxied=False)
        await at(loop, 1.2)
        traffic.departed(loop.time(), proxied=True)
        traffic.departed(loop.time(), proxied=False)
        traffic.close()
        return sent[0]

    stat = run(script)
    assert (stat.concurrency, stat.proxied_concurrency) == (2.0, 1.0)
    assert (round(stat.requests, 1), round(stat.proxied_requests, 1)) == (1.9, 1.0)


def test_before_the_first_interval_only_the_name_is_told_and_uptime_is_never_stale():
    async def script(loop):
        traffic = make(loop)
        first = traffic.protobuf()
        await at(loop, 100.0)
        later = traffic.protobuf()
        await at(loop, 200.0)
        return first, later, traffic.protobuf()

    first, later, latest = run(script)
    assert first == b"\x0a\x05pod-1"
    assert later.startswith(first)
    assert len(later) > len(first)
    assert later != latest
