"""Pods are not taken away only to be asked for again."""

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.steady import Steady
from dataplane.resources.scaling import Autoscaling

SPEC = Autoscaling()


def step(steady, now, desired, *, ready=10, panic_need=0, idle=False, spec=SPEC):
    return steady.step(spec, now=now, desired=desired, ready=ready, panic_need=panic_need, idle=idle)


def test_a_first_scale_down_is_not_delayed():
    steady = Steady()
    assert [step(steady, now, wish)[0] for now, wish in [(0, 10), (2, 5), (4, 2)]] == [10, 5, 2]


def test_pods_that_were_missed_within_a_window_stay_for_two():
    steady = Steady()
    for now, wish in [(0, 10), (10, 5), (30, 10)]:
        assert step(steady, now, wish)[0] == wish
    assert step(steady, 32, 5) == (10, ("flapping",))
    assert step(steady, 149, 5) == (10, ("flapping",))
    assert step(steady, 151, 5) == (5, ())


def test_every_crest_of_the_wave_extends_the_hold():
    steady = Steady()
    for now, wish in [(0, 10), (10, 5), (30, 10), (60, 5)]:
        step(steady, now, wish)
    assert step(steady, 100, 5, panic_need=10) == (10, ("flapping",))
    assert step(steady, 200, 5) == (10, ("flapping",))
    assert step(steady, 221, 5) == (5, ())


def test_pods_missed_later_than_a_window_are_no_flap():
    steady = Steady()
    for now, wish in [(0, 10), (10, 5), (80, 10)]:
        step(steady, now, wish)
    assert step(steady, 82, 5)[0] == 5


def test_steady_load_after_a_flap_ends_the_hold():
    steady = Steady()
    for now, wish in [(0, 10), (10, 5), (30, 10)]:
        step(steady, now, wish)
    for now in range(32, 200, 2):
        step(steady, now, 10)
    assert step(steady, 200, 5)[0] == 5


def test_no_load_ends_every_hold_at_once():
    steady = Steady()
    for now, wish in [(0, 10), (10, 5), (30, 10)]:
        step(steady, now, wish)
    assert step(steady, 32, 5, idle=True) == (5, ())


def test_from_zero_and_back_is_no_flap():
    steady = Steady()
    for now, wish in [(0, 1), (10, 0), (20, 2)]:
        step(steady, now, wish)
    assert step(steady, 22, 1)[0] == 1


def test_no_step_down_to_where_panic_would_begin_again():
    assert step(Steady(), 0, 1, ready=2, panic_need=2) == (2, ("panic-threshold",))
    assert step(Steady(), 0, 1, ready=2, panic_need=1) == (1, ())
    assert step(Steady(), 0, 2, ready=8, panic_need=9) == (5, ("panic-threshold",))


def test_an_unreachable_revision_is_let_go():
    spec = Autoscaling(reachable=False)
    assert step(Steady(), 0, 0, ready=2, panic_need=9, spec=spec) == (0, ())


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))))
def test_never_less_than_asked_and_never_more_than_was_wanted_or_is_there(script):
    steady, now, most = Steady(), 0.0, 0
    for gap, desired, ready, panic_need in script:
        now += gap
        wish, limits = step(steady, now, desired, ready=ready, panic_need=panic_need)
        assert wish >= desired
        assert wish <= max(desired, most, ready)
        assert bool(limits) == (wish > desired)
        most = max(most, wish)
