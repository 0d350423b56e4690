import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.policy.meter import Meter


def test_one_request_over_half_of_the_interval_is_half():
    meter = Meter(0.0)
    meter.arrived(0.0)
    meter.departed(3.0)
    assert meter.report(6.0) == (0.5, pytest.approx(1 / 6))


def test_two_interleaved_requests_add_up():
    """Spec §9.9: 0–600 ms and 100–1000 ms in one second → 1.5, count 2."""
    meter = Meter(0.0)
    meter.arrived(0.0)
    meter.arrived(0.1)
    meter.departed(0.6)
    meter.departed(1.0)
    assert meter.report(1.0) == (pytest.approx(1.5), 2.0)


def test_a_request_that_spans_two_reports_is_counted_once():
    meter = Meter(0.0)
    meter.arrived(0.0)
    assert meter.report(1.0) == (1.0, 1.0)
    meter.departed(1.5)
    assert meter.report(2.0) == (0.5, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=50))
def test_the_integral_is_never_negative_and_bounded_by_the_peak(script):
    meter, now, peak = Meter(0.0), 0.0, 0
    for arrives, passes in script:
        now += passes
        if arrives:
            meter.arrived(now)
        elif meter.running:
            meter.departed(now)
        peak = max(peak, meter.running)
    now += 1.0
    assert 0 <= meter.report(now).concurrency <= peak + 1e-9
