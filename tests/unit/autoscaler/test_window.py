"""Buckets and averages of §10.5; vectors V13–V15 of §11; the sliding maximum of §16.13."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.window import SlidingMax, Window


def steady_after_a_minute_of_silence(size, weighted=False):
    """60 s of zeros, then 100 every second; {seconds since the load began: average}."""
    window = Window(size, weighted=weighted)
    for second in range(-60, 0):
        window.record(second, 0)
    averages = {}
    for second in range(60):
        window.record(second, 100)
        averages[second] = window.average(second)
    return averages


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (60, {0: 1.667, 5: 10, 14: 25, 30: 51.667, 59: 100}),
        (6, {0: 16.667, 1: 33.333, 2: 50, 5: 100}),
    ],
)
def test_V13_linear_average_of_a_load_that_begins(size, expected):
    averages = steady_after_a_minute_of_silence(size)
    assert {second: averages[second] for second in expected} == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (60, {0: 20, 1: 36, 2: 48.8, 5: 73.786, 10: 91.41, 20: 99.078}),
        (6, {0: 78.456, 1: 95.358, 2: 99.0}),
    ],
)
def test_V14_weighted_average_of_a_load_that_begins(size, expected):
    averages = steady_after_a_minute_of_silence(size, weighted=True)
    assert {second: averages[second] for second in expected} == pytest.approx(expected, abs=1e-3)


def test_V15_a_young_window_averages_over_the_time_it_has_data():
    window = Window(60)
    readings = []
    for second, value in enumerate((1, 9, 10)):
        window.record(second, value)
        readings.append(window.average(second))
    assert readings == [1, 5, 6.666667]
    assert window.average(5) == 6.666667  # missing recent data is not zero


def test_V15_a_weighted_window_has_no_bias_correction():
    window = Window(60, weighted=True)
    readings = []
    for second, value in enumerate((1, 9, 10)):
        window.record(second, value)
        readings.append(window.average(second))
    assert readings == pytest.approx([0.2, 1.96, 3.568])


@pytest.mark.parametrize(("size", "decay"), [(60, 0.2), (40, 0.205672), (6, 0.784557), (5, 0.841511)])
def test_weight_of_the_newest_second(size, decay):
    window = Window(size, weighted=True)
    window.record(0, 1)
    assert window.average(0) == pytest.approx(decay, abs=1e-6)


def test_several_records_of_one_second_add_up():
    window = Window(6)
    window.record(10.1, 3)
    window.record(10.9, 4)
    assert window.average(10.95) == 7


def test_skipped_seconds_count_as_zero_once_there_is_a_newer_record():
    window = Window(60)
    window.record(0, 8)
    window.record(3, 0)
    assert window.average(3) == 2


def test_a_gap_as_long_as_the_window_starts_over():
    window = Window(6)
    window.record(0, 100)
    window.record(6, 3)
    assert window.average(6) == 3


def test_buckets_that_fell_out_do_not_count():
    window = Window(6)
    for second in range(6):
        window.record(second, 10 * second)
    assert window.average(7) == (20 + 30 + 40 + 50) / 4
    assert window.average(11) == 0


def test_a_late_record_goes_to_its_own_second_and_an_ancient_one_nowhere():
    window = Window(6)
    window.record(0, 6)
    window.record(10, 0)
    window.record(9, 6)
    window.record(11, 0)
    window.record(2, 1000)
    assert window.average(11) == 3


def test_data_is_gone_one_second_after_the_window():
    window = Window(6)
    assert window.empty(0)
    window.record(0, 1)
    assert not window.empty(6)
    assert window.empty(7)


def test_zero_means_that_the_average_stays_zero():
    window = Window(6)
    assert window.zero(0)
    window.record(0, 1)
    assert not window.zero(5)
    assert window.zero(6)


@pytest.mark.parametrize(("before", "after", "seconds"), [(60, 6, range(55, 61)), (6, 60, range(54, 61))])
def test_resizing_keeps_the_seconds_that_fit(before, after, seconds):
    window = Window(before)
    for second in range(60):
        window.record(second, second)
    resized = window.resized(after, weighted=False)
    resized.record(60, 60)
    assert resized.average(60) == pytest.approx(sum(seconds) / len(seconds))


def test_an_empty_window_stays_empty_when_resized():
    assert Window(6).resized(60, weighted=True).empty(0)


@given(
    size=st.integers(1, 70),
    script=st.lists(st.tuples(st.integers(0, 80), st.floats(0, 1e6)), max_size=60),
    ask=st.integers(0, 80),
)
def test_linear_average_is_what_a_list_of_seconds_gives(size, script, ask):
    """Oracle: keep every second in a dictionary, and when the ring would have started over."""
    window = Window(size)
    seconds, first, now = {}, None, 0
    for step, value in script:
        now += step
        if first is None or now - max(seconds) >= size:
            seconds, first = {}, now
        seconds[now] = seconds.get(now, 0.0) + value
        window.record(now, value)
    asked = now + ask
    if first is None or asked - now >= size:
        assert window.average(asked) == 0
        return
    inside = sum(value for second, value in seconds.items() if asked - size < second <= asked)
    expected = inside / min(now - first + 1, size - (asked - now))
    assert window.average(asked) == pytest.approx(expected, abs=1e-5)


@given(st.integers(1, 60), st.lists(st.floats(0, 1e6), min_size=1, max_size=90), st.booleans())
def test_average_lies_between_the_smallest_and_the_largest_second(size, values, weighted):
    window = Window(size, weighted=weighted)
    for second, value in enumerate(values):
        window.record(second, value)
    average = window.average(len(values) - 1)
    assert (0 if weighted else min(values[-size:])) - 1e-5 <= average <= max(values[-size:]) + 1e-5


def clock(text):
    minutes, seconds = text.split(":")
    return int(minutes) * 60 + int(seconds)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([("0:02", 4), ("5:00", 0), ("5:02", 0)], [4, 4, 0]),
        ([("9:00", 4), ("10:00", 3), ("11:00", 0), ("14:00", 0), ("15:00", 0)], [4, 4, 4, 3, 0]),
    ],
)
def test_sliding_maximum_vectors(script, expected):
    delay = SlidingMax(150, 2.0)
    assert [delay.record(clock(at), value) for at, value in script] == expected


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), min_size=1, max_size=80))
def test_sliding_maximum_is_the_maximum_of_the_slots_in_reach(slots, script):
    delay, seen, now = SlidingMax(slots, 2.0), [], 0
    for step, value in script:
        now += step
        seen.append((now // 2, value))
        assert delay.record(now, value) == max(v for slot, v in seen if slot > now // 2 - slots)
        assert len(delay._falling) <= slots


def test_sliding_maximum_says_when_it_will_fall():
    delay = SlidingMax(5, 2.0)
    delay.record(0, 4)
    assert delay.falls_at() is None
    delay.record(2, 2)
    assert delay.falls_at() == 10
    assert delay.record(9.9, 2) == 4
    assert delay.record(10, 2) == 2
