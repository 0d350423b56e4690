import random

from hypothesis import given
from hypothesis import strategies as st

from dataplane.policy.pick import FirstFree, LeastOfTwo, RoundRobin, picker


class Pod:
    def __init__(self, name):
        self.name, self.in_flight = name, 0

    def __repr__(self):
        return self.name


def pods(count):
    return [Pod(f"p{i}") for i in range(count)]


def take(pick):
    pod = pick.take()
    if pod is not None:
        pod.in_flight += 1
    return pod


def test_the_limit_decides_the_policy():
    assert isinstance(picker(0, random.random), LeastOfTwo)
    assert isinstance(picker(1, random.random), FirstFree)
    assert isinstance(picker(3, random.random), FirstFree)
    assert isinstance(picker(4, random.random), RoundRobin)


def test_first_free_fills_one_pod_before_the_next_and_returns_to_it():
    pick, all_pods = FirstFree(2), pods(3)
    pick.replace(all_pods)
    assert [take(pick).name for _ in range(5)] == ["p0", "p0", "p1", "p1", "p2"]
    all_pods[0].in_flight -= 1
    pick.freed(all_pods[0])
    assert take(pick).name == "p0"


def test_round_robin_goes_round_and_skips_the_full():
    pick, all_pods = RoundRobin(4), pods(3)
    pick.replace(all_pods)
    assert [take(pick).name for _ in range(6)] == ["p0", "p1", "p2", "p0", "p1", "p2"]


def test_least_of_two_prefers_the_less_loaded():
    pick, all_pods = LeastOfTwo(random.Random(1).random), pods(2)
    pick.replace(all_pods)
    all_pods[0].in_flight = 5
    assert all(pick.take() is all_pods[1] for _ in range(50))


def test_least_of_two_spreads_evenly():
    pick, all_pods = LeastOfTwo(random.Random(2).random), pods(5)
    pick.replace(all_pods)
    for _ in range(1000):
        take(pick)
    assert max(p.in_flight for p in all_pods) - min(p.in_flight for p in all_pods) <= 3


@given(st.integers(1, 6), st.integers(0, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=80))
def test_a_free_slot_is_always_found_and_the_limit_never_passed(limit, count, script):
    pick, all_pods = picker(limit, random.Random(0).random), pods(count)
    pick.replace(all_pods)
    busy = []
    for wants, which in script:
        if wants:
            free = sum(limit - p.in_flight for p in all_pods)
            pod = take(pick)
            assert (pod is not None) == (free > 0)
            if pod is not None:
                busy.append(pod)
        elif busy:
            pod = busy.pop(which % len(busy))
            was_full = pod.in_flight == limit
            pod.in_flight -= 1
            if was_full:
                pick.freed(pod)
        assert all(0 <= p.in_flight <= limit for p in all_pods)
