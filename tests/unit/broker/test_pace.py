import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import pace
from broker.pace import Bucket, Ramp


def test_a_bucket_gives_its_burst_and_then_its_rate():
    bucket = Bucket(100.0, now=0.0)
    assert bucket.available(0.0) == 10
    for _ in range(10):
        bucket.take()
    assert bucket.available(0.0) == 0
    assert bucket.wait_s(0.0) == pytest.approx(0.01)
    assert bucket.available(0.05) == 5
    assert bucket.available(1000.0) == 10


@given(st.floats(0.1, 10_000), st.lists(st.floats(0, 2), max_size=60))
def test_no_span_sees_more_than_the_rate_and_one_burst(rate, gaps):
    bucket, now, taken = Bucket(rate, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        for _ in range(bucket.available(now)):
            bucket.take()
            taken += 1
    assert taken <= now * rate + bucket.burst + 1


def test_what_was_taken_beyond_is_owed():
    bucket = Bucket(1.0, now=0.0)
    for _ in range(4):
        bucket.take()
    assert bucket.available(2.5) == 0
    assert bucket.available(4.0) == 1


def healthy(ramp, rate, seconds, now=0.0):
    for i in range(int(rate * seconds)):
        ramp.succeeded(now + i / rate)
    return now + seconds


def break_down(ramp, now):
    while not ramp.down:
        ramp.failed(now)
        now += 0.01
    return now


def test_a_few_failures_or_a_short_blip_are_no_outage():
    ramp = Ramp(0.0)
    for i in range(1000):
        ramp.failed(0.0005 * i)
    assert not ramp.down, "all within half a second"
    ramp.succeeded(0.6)
    for i in range(pace.DOWN_FAILURES - 1):
        ramp.failed(1.0 + i)
    assert not ramp.down
    assert ramp.bucket is None


def test_a_subscriber_that_is_away_is_asked_a_few_times_a_second():
    ramp = Ramp(0.0)
    now = break_down(ramp, 0.0)
    ramp.refresh(now + 600)
    assert ramp.bucket.rate_per_s == pace.DOWN_RATE_PER_S


def test_the_first_minute_after_an_outage_is_at_most_twice_the_steady_rate():
    ramp = Ramp(0.0)
    now = healthy(ramp, 400, 60)
    assert ramp.steady_per_s == pytest.approx(400, rel=0.02)
    now = break_down(ramp, now) + 600
    ramp.succeeded(now)
    sent, end = 0, now + 60
    while now < end:
        now += 0.01
        ramp.refresh(now)
        for _ in range(ramp.bucket.available(now)):
            ramp.bucket.take()
            ramp.succeeded(now)
            sent += 1
    assert 400 * 60 <= sent <= 2 * 400 * 60
    assert ramp.steady_per_s == pytest.approx(400, rel=0.02), "what the ramp lets through is not the steady rate"


def test_then_it_doubles_until_it_is_no_limit():
    ramp = Ramp(0.0)
    now = break_down(ramp, 0.0)
    ramp.succeeded(now)
    rates = []
    while ramp.bucket is not None:
        now += 1
        ramp.refresh(now)
        rates.append(ramp.bucket.rate_per_s if ramp.bucket else 0)
    assert rates[:60] == [pace.RAMP_MIN_PER_S] * 60
    assert 120 < len(rates) < 240


def test_an_outage_within_the_ramp_begins_again():
    ramp = Ramp(0.0)
    now = break_down(ramp, 0.0)
    ramp.succeeded(now)
    break_down(ramp, now + 5)
    assert ramp.bucket.rate_per_s == pace.DOWN_RATE_PER_S
