"""How pods are dealt out to activators: the vectors of spec §8.9, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.policy.subset import dealt, share

counts = st.integers(0, 60)
activators = st.integers(1, 20)


def test_twenty_pods_for_three_activators():
    assert [len(dealt(20, 3, index)) for index in range(3)] == [7, 7, 6]
    assert dealt(20, 3, 0) == [0, 1, 2, 3, 4, 5, 18]
    assert dealt(20, 3, 1) == [6, 7, 8, 9, 10, 11, 19]
    assert dealt(20, 3, 2) == [12, 13, 14, 15, 16, 17]


def test_twenty_four_pods_for_five_activators():
    assert [dealt(24, 5, index)[-1] for index in range(4)] == [20, 21, 22, 23]
    assert dealt(24, 5, 4) == [16, 17, 18, 19]


def test_three_pods_for_five_activators():
    assert [dealt(3, 5, index) for index in range(5)] == [[0], [1], [2], [0], [1]]


def test_who_does_not_know_its_place_uses_all():
    assert dealt(3, 5, -1) == [0, 1, 2]
    assert share(10, 3, 5, -1) == 10


@given(counts, activators)
def test_every_pod_has_one_activator_when_there_are_enough_pods(pods, many):
    own = [dealt(pods, many, index) for index in range(many)]
    if pods >= many:
        assert sorted(pod for one in own for pod in one) == list(range(pods))
        assert max(map(len, own)) - min(map(len, own)) <= 1
    elif pods:
        assert all(len(one) == 1 for one in own)
        assert {pod for one in own for pod in one} == set(range(pods))


@given(st.integers(1, 200), counts, activators)
def test_the_shares_of_a_pod_add_up_to_its_limit(limit, pods, many):
    for pod in range(pods):
        holders = [index for index in range(many) if pod in dealt(pods, many, index)]
        total = sum(share(limit, pods, many, index) for index in holders)
        assert total == max(limit, len(holders) if len(holders) > 1 else 0)


@pytest.mark.parametrize(("limit", "shares"), [(10, [4, 3, 3]), (2, [1, 1, 1]), (1, [1, 1, 1])])
def test_a_limit_is_divided_among_those_that_share_a_pod(limit, shares):
    assert [share(limit, 1, 3, index) for index in range(3)] == shares
