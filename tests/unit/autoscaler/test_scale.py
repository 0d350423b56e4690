"""The decision of §10.6, its vectors of §11 (printed by Knative's own decider), and what holds for every load."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.scale import (
    Decider,
    activators,
    bounded,
    excess_burst_capacity,
    initial_burst_capacity,
    proxied,
)
from autoscaler.window import Window
from dataplane.resources.scaling import Autoscaling

CC0 = Autoscaling(target=70, total=100)
CC10 = Autoscaling(target=7, total=10)


def play(spec, created_with, *steps):
    """Steps (t, ready, stable, panic) → [(desired, excess, panicking)]."""
    decider = Decider(now=0, ready=created_with)
    out = []
    for now, ready, stable, panic in steps:
        verdict = decider.decide(spec, now=now, ready=ready, stable=stable, panic=panic)
        out.append((verdict.desired, verdict.excess_burst_capacity, verdict.panicking))
    return out


def test_V1_unlimited_concurrency_grows_in_panic():
    steps = [(0, 1, 100, 100), (2, 2, 100, 100), (4, 2, 150, 150), (6, 3, 150, 150)]
    assert play(CC0, 1, *steps) == [(2, -211, True), (2, -111, True), (3, -161, True), (3, -61, True)]


def test_V2_panic_never_decreases_and_ends_a_window_after_the_last_excess():
    steps = [
        (0, 1, 20, 80),
        (10, 1, 40, 80),
        (30, 12, 60, 10),
        (60, 12, 60, 10),
        (62, 12, 60, 10),
        (64, 12, 12, 10),
        (70, 12, 12, 10),  # 10 + 60 < 70 is false
        (72, 12, 12, 10),
    ]
    played = play(CC10, 1, *steps)
    assert [desired for desired, _, _ in played] == [12, 12, 12, 12, 12, 12, 12, 6]
    assert [excess for _, excess, _ in played][:3] == [-281, -281, -101]
    assert [panicking for _, _, panicking in played] == [True] * 7 + [False]


def test_V3_rate_up_is_a_factor_and_three_pods_at_birth_panic():
    spec = Autoscaling(target=1, total=1.4, target_burst_capacity=0, max_scale_up_rate=2)
    assert play(spec, 3, (0, 3, 50, 50), (2, 6, 50, 50)) == [(6, 0, True), (12, 0, True)]


def test_V4_scale_in_goes_by_halves_down_to_zero():
    steps = [(0, 40, 7, 7), (2, 20, 7, 7), (4, 10, 7, 7), (6, 5, 0, 0), (8, 2, 0, 0), (10, 1, 0, 0)]
    expected = [(20, 182), (10, -18), (5, -118), (2, -161), (1, -191), (0, -201)]
    assert play(CC10, 0, *steps) == [(desired, excess, False) for desired, excess in expected]


def test_V5_an_unreachable_revision_has_no_rate_limit_down():
    spec = msgspec.structs.replace(CC10, reachable=False)
    assert play(spec, 0, (0, 40, 7, 7)) == [(1, 182, False)]


def test_V6_excess_capacity_takes_the_activator_out_and_in():
    spec = msgspec.structs.replace(CC10, target_burst_capacity=7)
    steps = [(0, 1, 3, 3), (2, 1, 4, 4), (4, 1, 12, 12), (6, 2, 12, 12)]
    played = play(spec, 1, *steps)
    assert played == [(1, 0, False), (1, -1, False), (2, -9, True), (2, 1, True)]
    through = [
        proxied(want=want, ready=step[1], excess=excess) for (want, excess, _), step in zip(played, steps, strict=True)
    ]
    assert through == [False, True, True, False]


def test_V7_activation_scale_holds_while_there_is_load():
    spec = Autoscaling(target=4.2, total=6, activation_scale=5)
    steps = [(0, 0, 1, 1), (60, 5, 0.2, 0), (130, 5, 0, 0)]
    assert [(d, e) for d, e, _ in play(spec, 0, *steps)] == [(5, -212), (5, -181), (2, -181)]


def test_V8_burst_capacity_minus_one_stays_minus_one():
    spec = msgspec.structs.replace(CC0, target_burst_capacity=-1)
    assert play(spec, 0, (0, 0, 1, 1)) == [(1, -1, False)]


def test_V9_scale_down_waits_for_the_delay():
    spec = Autoscaling(target=10, total=10, scale_down_delay_s=10, panic_threshold=10)
    steps = [(0, 1, 40, 40), (2, 4, 10, 10), (8, 4, 10, 10), (10, 4, 10, 10), (12, 2, 10, 10)]
    assert [desired for desired, _, _ in play(spec, 0, *steps)] == [4, 4, 4, 2, 2]


def test_V10_a_restart_under_load_starts_in_panic():
    steps = [(2, 6, 7, 7), (60, 6, 7, 7), (62, 6, 7, 7)]
    assert [(d, p) for d, _, p in play(CC10, 6, *steps)] == [(6, True), (6, True), (3, False)]


@pytest.mark.parametrize(("panic", "expected"), [(35, (3, -216, False)), (36, (6, -217, True))])
def test_V11_the_threshold_compares_whole_pods(panic, expected):
    spec = msgspec.structs.replace(CC10)
    assert play(spec, 0, (0, 3, 21, panic)) == [expected]


def test_V12_a_thousandfold_step_at_most():
    spec = Autoscaling(target=0.7, total=1)
    assert play(spec, 0, (0, 0, 3000, 3000)) == [(1000, -3211, True)]


def test_V16_a_burst_on_one_pod_panics_at_once_and_reaches_its_size_after_the_panic_window():
    stable, panic, decider = Window(60), Window(6), Decider(now=-60, ready=1)
    for second in range(-60, 0):
        stable.record(second, 0)
        panic.record(second, 0)
    desired = {}
    for second in range(60):
        stable.record(second, 100)
        panic.record(second, 100)
        ready = 1 if second < 6 else 15
        if second % 2 == 0:
            verdict = decider.decide(
                CC10, now=second, ready=ready, stable=stable.average(second), panic=panic.average(second)
            )
            desired[second] = verdict
    assert desired[0].panic_need == 3
    assert desired[0].panicking
    assert desired[6].desired == 15
    assert desired[56].stable_need < 15 <= desired[58].stable_need


@pytest.mark.parametrize(
    ("spec", "steps", "expected"),
    [
        ({"target_burst_capacity": 101}, [(0, 1, 50, 10)], [5]),
        ({}, [(0, 8, 100, 100), (2, 8, 50, 50)], [10, 5]),
        ({"max_scale_up_rate": 1.1}, [(0, 2, 30, 30)], [3]),
        ({"max_scale_down_rate": 1.1}, [(0, 100, 10, 10)], [90]),
        ({"scale_down_delay_s": 300}, [(2, 1, 40, 10), (300, 1, 0, 0), (302, 1, 0, 0)], [4, 4, 0]),
    ],
)
def test_V17_facts_of_the_upstream_unit_tests(spec, steps, expected):
    full = Autoscaling(target=10, total=13.33, **spec)
    assert [desired for desired, _, _ in play(full, 0, *steps)] == expected


@pytest.mark.parametrize(
    ("ready", "total", "burst", "expected"),
    [(0, 100, 211, 3), (1, 100, 211, 4), (5, 100, 211, 8), (10, 100, -1, 10), (30, 10, 211, 6), (50, 100, 0, 2)],
)
def test_V18_number_of_activators(ready, total, burst, expected):
    assert activators(Autoscaling(total=total, target_burst_capacity=burst), ready=ready) == expected


def test_V21_the_first_request_wants_one_pod_without_panic_and_keeps_the_activator():
    window = Window(60)
    window.record(0, 1)
    average = window.average(0)
    assert play(CC0, 0, (0, 0, average, average)) == [(1, -212, False)]
    assert play(CC0, 0, (2, 1, average, average)) == [(1, -112, False)]


@pytest.mark.parametrize(
    ("desired", "reachable", "expected"), [(0, True, 3), (9, True, 5), (4, True, 4), (0, False, 0), (9, False, 5)]
)
def test_V22_bounds(desired, reachable, expected):
    spec = Autoscaling(min_scale=3, max_scale=5, reachable=reachable, initialized=True)
    assert bounded(spec, desired)[0] == expected


def test_initial_scale_is_a_lower_bound_until_it_was_reached():
    spec = Autoscaling(initial_scale=4, min_scale=1)
    assert bounded(spec, 0) == (4, ("initial-scale",))
    assert bounded(msgspec.structs.replace(spec, initialized=True), 0) == (1, ("min-scale",))
    assert bounded(msgspec.structs.replace(spec, reachable=False), 0) == (0, ())


@pytest.mark.parametrize(("burst", "expected"), [(-1, -1), (0, 0), (211, -11), (50.5, 149)])
def test_burst_capacity_before_the_first_decision(burst, expected):
    spec = Autoscaling(total=100, initial_scale=2, target_burst_capacity=burst)
    assert initial_burst_capacity(spec) == expected


def test_limits_name_what_shaped_the_decision():
    decider = Decider(now=0, ready=0)
    verdict = decider.decide(Autoscaling(target=1, max_scale_up_rate=2), now=0, ready=2, stable=50, panic=50)
    assert verdict.limits == ("max-scale-up-rate",)
    verdict = Decider(now=0, ready=0).decide(CC10, now=0, ready=40, stable=7, panic=7)
    assert verdict.limits == ("max-scale-down-rate",)


specs = st.builds(
    Autoscaling,
    target=st.floats(0.01, 1000),
    total=st.floats(0.01, 1000),
    panic_threshold=st.floats(1.1, 10),
    target_burst_capacity=st.sampled_from([-1.0, 0.0, 7.0, 211.0]),
    max_scale_up_rate=st.floats(1.01, 1000),
    max_scale_down_rate=st.floats(1.01, 100),
    activation_scale=st.sampled_from([0, 2, 5]),
    scale_down_delay_s=st.sampled_from([0.0, 10.0, 300.0]),
    min_scale=st.integers(0, 5),
    max_scale=st.sampled_from([0, 5, 50]),
    initial_scale=st.integers(0, 4),
    initialized=st.booleans(),
    reachable=st.booleans(),
)
loads = st.floats(0, 1e6)
steps = st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 500), loads, loads), min_size=1, max_size=30)


@given(specs, st.integers(0, 20), steps)
def test_rates_limit_every_step_and_nothing_is_ever_negative(spec, created_with, script):
    decider, now = Decider(now=0, ready=created_with), 0.0
    for gap, ready, stable, panic in script:
        now += gap
        most = decider.panic_most
        verdict = decider.decide(spec, now=now, ready=ready, stable=stable, panic=panic)
        held = verdict.desired == most or "scale-down-delay" in verdict.limits
        active = spec.activation_scale if max(stable, panic) > 0 else 0
        assert 0 <= verdict.desired
        assert verdict.desired <= max(verdict.ceiling, active) or held
        assert verdict.desired >= verdict.floor


@given(specs, st.integers(0, 500), loads, loads, loads, loads)
def test_one_decision_is_monotone_in_load(spec, ready, stable, panic, more_stable, more_panic):
    def desired(s, p):
        return Decider(now=0, ready=0).decide(spec, now=0, ready=ready, stable=s, panic=p).desired

    assert desired(stable, panic) <= desired(stable + more_stable, panic + more_panic)


@given(specs, st.integers(2, 20), steps)
def test_panic_never_decreases(spec, created_with, script):
    spec = msgspec.structs.replace(spec, scale_down_delay_s=0.0)
    decider, now, before = Decider(now=0, ready=created_with), 0.0, created_with
    for gap, ready, stable, panic in script:
        now += gap
        verdict = decider.decide(spec, now=now, ready=ready, stable=stable, panic=panic)
        if verdict.panicking:
            assert verdict.desired >= before
        before = verdict.desired if verdict.panicking else 0


@given(specs, st.integers(-1, 1000))
def test_bounds_always_hold(spec, desired):
    want, limits = bounded(spec, max(0, desired))
    assert not spec.max_scale or want <= spec.max_scale
    if spec.reachable:
        assert want >= min(spec.min_scale, spec.max_scale or spec.min_scale)
    assert bool(limits) == (want != max(0, desired))


@given(specs, st.integers(0, 1000), loads)
def test_more_load_never_means_more_excess_capacity(spec, ready, panic):
    less = excess_burst_capacity(spec, ready=ready, panic=panic)
    assert excess_burst_capacity(spec, ready=ready, panic=panic + 1) <= less
