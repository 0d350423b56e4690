import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.backoff import backoff_s, retry_after_s, wait_s
from dataplane.resources.triggers import DeliveryPolicy

MIDDLE = lambda: 0.5  # noqa: E731  no jitter at all


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [("linear", [0.2, 0.4, 0.6, 0.8, 1.0]), ("exponential", [0.2, 0.4, 0.8, 1.6, 3.2])],
)
def test_the_waits_of_both_policies(backoff, waits):
    policy = DeliveryPolicy(backoff=backoff, delay_s=0.2)
    assert [backoff_s(policy, k, MIDDLE) for k in range(1, 6)] == pytest.approx(waits)


@given(
    st.sampled_from(["linear", "exponential"]),
    st.floats(0, 1e6),
    st.floats(0, 1e4),
    st.integers(1, 10**9),
    st.floats(0, 1, exclude_max=True),
)
def test_no_wait_is_negative_or_beyond_the_cap_and_its_jitter(backoff, delay, cap, retry, drawn):
    policy = DeliveryPolicy(backoff=backoff, delay_s=delay, max_backoff_s=cap)
    assert 0 <= backoff_s(policy, retry, lambda: drawn) <= cap * 1.1 + 1e-9
    assert 0 <= backoff_s(policy, retry, lambda: drawn, full_jitter=True) <= cap


def test_jitter_is_ten_per_cent_each_way_and_full_when_asked():
    policy = DeliveryPolicy(delay_s=10.0)
    assert [backoff_s(policy, 1, lambda r=r: r) for r in (0.0, 0.5, 1.0)] == pytest.approx([9.0, 10.0, 11.0])
    assert [backoff_s(policy, 1, lambda r=r: r, full_jitter=True) for r in (0.0, 0.5)] == pytest.approx([0.0, 5.0])


NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b" 0 ", 0.0),
        (b"Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        (b"Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        (b"Sun Nov  6 08:50:37 1994", 60.0),
        (b"Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        (b"-5", None),
        (b"1.5", None),
        (b"soon", None),
        (b"", None),
        (b"9" * 400, 999999999999.0),
    ],
)
def test_what_a_retry_after_says(value, seconds):
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "header", "cap", "wanted"),
    [
        (503, b"30", None, 30.0),
        (429, b"30", None, 30.0),
        (500, b"30", None, 1.0),  # only these two statuses ask for a pause
        (503, None, None, 1.0),
        (503, b"30", 0.0, 1.0),  # told to ignore it
        (503, b"30", 10.0, 10.0),
        (503, b"100000", None, 300.0),  # capped by max_backoff_s
        (503, b"0", None, 1.0),  # never shorter than the back-off
        (503, b"garbage", None, 1.0),
        (429, b"Sun, 06 Nov 1994 08:50:07 GMT", None, 30.0),
    ],
)
def test_a_pause_that_was_asked_for_is_honoured_within_its_cap(status, header, cap, wanted):
    policy = DeliveryPolicy(delay_s=1.0, retry_after_max_s=cap)
    waits = [wait_s(policy, 1, lambda r=r: r, status=status, retry_after=header, now=NOW) for r in (0.0, 0.5, 0.999)]
    if wanted == 1.0:
        assert waits[1] == pytest.approx(1.0)
    else:
        assert waits[0] == pytest.approx(wanted)
        assert all(wanted <= w <= wanted * 1.1 for w in waits), "stretched, never shortened"
