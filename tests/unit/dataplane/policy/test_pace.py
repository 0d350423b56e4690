"""A body that comes too slowly. Source: reliability.md GW-26."""

from dataplane.policy.pace import Pace


def pace(now: float = 0.0) -> Pace:
    return Pace(now, stall_s=30.0, bytes_s=240.0, window_s=10.0)


def test_a_body_of_240_bytes_a_second_may_take_for_ever():
    one, now = pace(), 0.0
    for _ in range(100):
        now += 1.0
        one.moved(now, 240)
        assert one.due(now) > now


def test_a_byte_a_second_is_too_slow_after_ten_seconds():
    one = pace()
    for second in range(1, 10):
        one.moved(second, 1)
        assert one.due(second) > second
    assert one.due(10.0) <= 10.0


def test_a_body_that_stands_still_is_too_slow_even_if_it_was_fast():
    one = Pace(0.0, stall_s=5.0, bytes_s=240.0, window_s=10.0)
    one.moved(1.0, 1_000_000)
    assert one.due(1.0) == 6.0
    assert one.due(6.0) <= 6.0


def test_time_in_which_we_did_not_read_does_not_count():
    one = pace()
    one.restart(100.0)
    assert one.due(100.0) == 110.0
    one.moved(105.0, 2_400)
    assert one.due(110.0) == 120.0
