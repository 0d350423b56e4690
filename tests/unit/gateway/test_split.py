import random

from hypothesis import given
from hypothesis import strategies as st

from dataplane.resources.snapshot import Path, Route, Rule, Snapshot, Split
from gateway.match import RouteTable
from gateway.split import choose


def entry(*percents):
    splits = tuple(Split(revision=f"r{i}", percent=p) for i, p in enumerate(percents))
    made = Route(namespace="d", name="a", rules=(Rule(hosts=("h",), paths=(Path(splits=splits),)),))
    return RouteTable().updated(Snapshot(), Snapshot(routes={"d/a": made}), None).external[b"h"][0]


def test_ninety_to_ten_over_ten_thousand_is_within_one_point():
    rng = random.Random(4)
    made = entry(90, 10)
    ten = sum(choose(made, rng.random).revision == "r1" for _ in range(10_000))
    assert abs(ten / 100 - 10) < 1


def test_zero_percent_gets_exactly_none():
    rng = random.Random(5)
    made = entry(50, 0, 50)
    assert "r1" not in {choose(made, rng.random).revision for _ in range(5000)}


def test_a_path_without_shares_has_nobody():
    assert choose(entry(0), random.random) is None


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_every_point_falls_to_an_arm_with_a_share(percents, point):
    arm = choose(entry(*percents), lambda: point)
    if sum(percents):
        assert percents[int(arm.revision[1:])] > 0
    else:
        assert arm is None
