"""Restarts back off like the kubelet's."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.drivers.nursery.backoff import Backoff


def kubelets() -> Backoff:
    return Backoff(first_s=10, max_s=300, healthy_s=600)


def test_LP_04_the_first_restart_is_immediate_then_10_s_doubling_to_300_s():
    backoff = kubelets()
    assert [backoff.ended(1) for _ in range(9)] == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_LP_04_ten_healthy_minutes_forget_the_crashes():
    backoff = kubelets()
    for _ in range(5):
        backoff.ended(1)
    assert backoff.ended(600) == 0
    assert backoff.ended(599) == 10


@given(st.lists(st.floats(0, 1200), max_size=2000))
def test_LP_04_no_wait_is_longer_than_the_maximum_and_none_shrinks_without_health(runs):
    backoff = kubelets()
    before = 0.0
    for ran_s in runs:
        wait_s = backoff.ended(ran_s)
        assert 0 <= wait_s <= 300
        assert ran_s >= 600 or wait_s >= before
        before = wait_s
