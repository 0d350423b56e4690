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


def test_what_must_be_left_is_left():
    bucket = Bucket(100.0, now=0.0)
    assert bucket.available(0.0, 6.0) == 4
    assert bucket.available(0.0, 10.0) == 0
    assert bucket.wait_s(0.0, 10.0) == pytest.approx(0.01)


TOOK_S = 0.01


def healthy(ramp, rate, seconds, now=0.0):
    for i in range(int(rate * seconds)):
        ramp.succeeded(now + i / rate, TOOK_S)
    return now + seconds


def break_down(ramp, now):
    while not ramp.down:
        ramp.failed(now)
        now += 0.01
    return now


def after_an_outage(rate=400):
    ramp = Ramp(0.0)
    now = healthy(ramp, rate, 60) if rate else 0.0
    now = break_down(ramp, now) + 600
    assert ramp.succeeded(now, TOOK_S), "it was down"
    return ramp, now


def go_on(ramp, now, seconds, *, new_per_s=0.0, took_s=TOOK_S, failing=0.0):
    """What is new comes first; of what waited there is always more. Returns (now, new ones, late ones)."""
    new = late = ended = 0
    owed, end = 0.0, now + seconds
    while now < end:
        now += 0.01
        owed += new_per_s * 0.01
        ramp.refresh(now)
        while ramp.whole is not None and owed >= 1 and ramp.whole.available(now) > 0:
            ramp.whole.take()
            owed, new = owed - 1, new + 1
        while (
            ramp.late is not None and min(ramp.late.available(now), ramp.whole.available(now, ramp.whole.burst / 2)) > 0
        ):
            ramp.whole.take()
            ramp.late.take()
            late += 1
        for _ in range(new + late - ended):
            ended += 1
            if ended * failing % 1 >= 1 - failing:
                ramp.failed(now)
            else:
                ramp.succeeded(now, took_s)
    assert owed < 2, "what is new does not wait"
    return now, new, late


def test_a_few_failures_or_a_short_blip_are_no_outage():
    ramp = Ramp(0.0)
    for i in range(1000):
        ramp.failed(0.0005 * i)
    assert not ramp.down, "all within half a second"
    ramp.succeeded(0.6, TOOK_S)
    for i in range(pace.DOWN_FAILURES - 1):
        ramp.failed(1.0 + i)
    assert not ramp.down
    assert ramp.whole is None


def test_a_subscriber_that_is_away_is_asked_a_few_times_a_second():
    ramp = Ramp(0.0)
    now = break_down(ramp, 0.0)
    ramp.refresh(now + 600)
    assert ramp.whole.rate_per_s == pace.DOWN_RATE_PER_S
    assert ramp.late is None, "nothing is told apart"


def test_the_first_minute_after_an_outage_is_at_most_twice_the_steady_rate():
    ramp, now = after_an_outage(400)
    assert ramp.steady_per_s == pytest.approx(400, rel=0.02)
    now, new, late = go_on(ramp, now, 60, new_per_s=400)
    assert new == pytest.approx(400 * 60, rel=0.01)
    assert 0.25 * 400 * 60 <= late
    assert new + late <= 2 * 400 * 60
    assert ramp.steady_per_s == pytest.approx(400, rel=0.02), "what the ramp lets through is not the steady rate"


def test_without_anything_new_what_waited_does_not_take_its_share():
    ramp, now = after_an_outage(400)
    _, new, late = go_on(ramp, now, 60)
    assert new == 0
    assert 0.25 * 400 * 60 <= late <= 400 * 60


def test_then_it_doubles_until_it_is_no_limit():
    ramp, now = after_an_outage(0)
    rates = []
    while ramp.late is not None:
        now += 1
        ramp.succeeded(now, TOOK_S)
        ramp.refresh(now)
        rates.append(ramp.late.rate_per_s if ramp.late else 0)
    first_minute = rates[:59]
    assert max(first_minute) <= pace.LATE_SHARE_MAX * pace.RAMP_MIN_PER_S
    assert first_minute == sorted(first_minute)
    assert 120 < len(rates) < 240
    assert ramp.whole is None


def test_a_subscriber_that_gets_slower_gets_less_of_what_waited():
    ramp, now = after_an_outage(400)
    now, _, _ = go_on(ramp, now, 90, new_per_s=400)
    before = ramp.late.rate_per_s
    now, _, _ = go_on(ramp, now, 11, new_per_s=400, took_s=10 * TOOK_S)
    assert ramp.late.rate_per_s < before
    go_on(ramp, now, 60, new_per_s=400)
    assert ramp.late.rate_per_s > 400, "and more when it is itself again"


def test_a_subscriber_that_is_slower_whatever_it_gets_is_caught_up_with_all_the_same():
    ramp, now = after_an_outage(400)
    least, end = 1e9, now + 20
    while now < end:
        now, _, _ = go_on(ramp, now, 0.5, new_per_s=400, took_s=10 * TOOK_S)
        least = min(least, ramp.late.rate_per_s)
    assert least == pytest.approx(pace.LATE_SHARE_MIN * 400, rel=0.02), "never nothing"
    go_on(ramp, now, 60, new_per_s=400, took_s=10 * TOOK_S)
    assert ramp.late.rate_per_s > 400


def test_a_subscriber_that_goes_on_failing_now_and_then_stays_at_the_least():
    ramp, now = after_an_outage(400)
    go_on(ramp, now, 60, new_per_s=400, failing=0.3)
    assert ramp.late.rate_per_s == pytest.approx(pace.LATE_SHARE_MIN * 400, rel=0.02)


def test_a_subscriber_that_fails_now_and_then_gets_less_of_what_waited():
    ramp, now = after_an_outage(400)
    now, _, _ = go_on(ramp, now, 30, new_per_s=400)
    before = ramp.late.rate_per_s
    go_on(ramp, now, 11, new_per_s=400, failing=0.3)
    assert ramp.late.rate_per_s < before
    assert not ramp.down


def test_a_ramp_that_nobody_needed_for_a_minute_is_over():
    ramp, now = after_an_outage(400)
    ramp.refresh(now + 61)
    assert ramp.whole is None
    assert ramp.late is None


def test_an_outage_within_the_ramp_begins_again():
    ramp, now = after_an_outage(0)
    break_down(ramp, now + 5)
    assert ramp.whole.rate_per_s == pace.DOWN_RATE_PER_S
    assert ramp.late is None
