"""The scale-to-zero machine of §10.8 and the Active condition of §10.10/§16.9, on one machine."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.zero import Activity, ready_min
from dataplane.resources.scaling import Autoscaling

SPEC = Autoscaling(initialized=True)


def replace(**changes):
    return msgspec.structs.replace(SPEC, **changes)


def active(spec=SPEC, since=0.0):
    activity = Activity(spec, now=since, ready=max(1, ready_min(spec)))
    assert activity.active == "True"
    return activity


def test_an_active_revision_keeps_one_pod_for_a_window_then_goes_to_zero_in_one_step():
    activity = active()
    held = activity.step(SPEC, now=59, desired=0, ready=1)
    assert (held.want, held.active, held.recheck_at) == (1, "True", 60)
    assert held.limits == ("stable-window",)
    gone = activity.step(SPEC, now=60, desired=0, ready=1)
    assert (gone.want, gone.active, gone.reason) == (0, "False", "NoTraffic")
    assert gone.message == "The target is not receiving traffic."


def test_retention_keeps_the_pods_of_an_inactive_revision():
    spec, activity = replace(retention_s=40), active()
    waits = activity.step(spec, now=60, desired=0, ready=1)
    assert (waits.want, waits.active, waits.recheck_at) == (-1, "False", 100)
    assert activity.step(spec, now=99, desired=0, ready=1).want == -1
    assert activity.step(spec, now=100, desired=0, ready=1).want == 0


def test_load_during_the_retention_makes_it_active_again_and_the_window_starts_over():
    spec, activity = replace(retention_s=40), active()
    activity.step(spec, now=60, desired=0, ready=1)
    again = activity.step(spec, now=70, desired=1, ready=1)
    assert (again.want, again.active) == (1, "True")
    assert activity.step(spec, now=129, desired=0, ready=1).want == 1
    assert activity.step(spec, now=131, desired=0, ready=1).active == "False"


def test_an_unreachable_revision_has_no_retention():
    spec, activity = replace(retention_s=40, reachable=False), active()
    assert activity.step(spec, now=60, desired=0, ready=1).want == 0


def test_scale_to_zero_switched_off_keeps_one():
    spec, activity = replace(enable_scale_to_zero=False), active()
    assert activity.step(spec, now=1000, desired=0, ready=1).want == 1


def test_load_on_an_inactive_revision_queues_until_a_pod_is_ready():
    activity = Activity(SPEC, now=0, ready=0)
    assert activity.active == "False"
    queued = activity.step(SPEC, now=1, desired=1, ready=0)
    assert (queued.want, queued.active, queued.reason) == (1, "Unknown", "Queued")
    assert activity.step(SPEC, now=2, desired=1, ready=1).active == "True"


def test_an_activating_revision_is_left_alone_until_its_deadline_then_given_up():
    spec = Autoscaling(progress_deadline_s=600)
    activity = Activity(spec, now=0, ready=0)
    waits = activity.step(spec, now=600, desired=0, ready=0)
    assert (waits.want, waits.active, waits.recheck_at) == (-1, "Unknown", 630)
    assert activity.step(spec, now=630, desired=-1, ready=0).want == -1
    gone = activity.step(spec, now=630.1, desired=-1, ready=0)
    assert (gone.want, gone.active, gone.reason) == (0, "False", "TimedOut")
    assert activity.step(spec, now=700, desired=0, ready=0).reason == "TimedOut"


def test_a_new_revision_becomes_active_with_its_initial_scale():
    spec = Autoscaling(initial_scale=3)
    activity = Activity(spec, now=0, ready=0)
    assert activity.step(spec, now=1, desired=0, ready=2).active == "Unknown"
    ready = activity.step(spec, now=2, desired=0, ready=3)
    assert (ready.active, ready.want, ready.limits) == ("True", 3, ("initial-scale",))


def test_an_initial_scale_of_zero_is_inactive_from_the_start():
    spec = Autoscaling(initial_scale=0)
    activity = Activity(spec, now=0, ready=0)
    assert activity.step(spec, now=0, desired=-1, ready=0).active == "False"


def test_min_scale_never_enters_the_machine():
    spec, activity = replace(min_scale=3), active(replace(min_scale=3))
    held = activity.step(spec, now=1000, desired=0, ready=3)
    assert (held.want, held.active, held.limits) == (3, "True", ("min-scale",))


@pytest.mark.parametrize(
    ("before", "desired", "ready", "after"),
    [
        ("True", 2, 1, "True"),
        ("True", 2, 0, "Unknown"),
        ("Unknown", 2, 1, "True"),
        ("False", 2, 0, "Unknown"),
        ("False", 2, 1, "True"),
        ("False", -1, 0, "False"),
        ("True", -1, 0, "Unknown"),
        ("Unknown", -1, 0, "Unknown"),
        ("False", -1, 1, "False"),
        ("Unknown", -1, 1, "True"),
        ("True", -1, 1, "True"),
    ],
)
def test_condition_table(before, desired, ready, after):
    activity = Activity(SPEC, now=0, ready={"True": 1, "False": 0, "Unknown": 0}[before])
    if before == "Unknown":
        activity.step(SPEC, now=0, desired=1, ready=0)
    assert activity.active == before
    assert activity.step(SPEC, now=1, desired=desired, ready=ready).active == after


@given(
    st.builds(
        Autoscaling,
        min_scale=st.integers(0, 4),
        max_scale=st.sampled_from([0, 4, 9]),
        initial_scale=st.integers(0, 5),
        initialized=st.booleans(),
        reachable=st.booleans(),
        retention_s=st.sampled_from([0.0, 30.0]),
        enable_scale_to_zero=st.booleans(),
    ),
    st.lists(st.tuples(st.floats(0.1, 400), st.integers(-1, 20), st.integers(0, 20)), max_size=40),
)
def test_whatever_happens_bounds_hold_and_the_condition_fits_what_is_wanted(spec, script):
    activity, now = Activity(spec, now=0, ready=0), 0.0
    for gap, desired, ready in script:
        now += gap
        since, before = activity.since, activity.active
        outcome = activity.step(spec, now=now, desired=desired, ready=ready)
        assert outcome.want >= -1
        if outcome.want > 0:
            assert not spec.max_scale or outcome.want <= spec.max_scale
        if outcome.want == 0:
            assert outcome.active == "False"
            assert spec.enable_scale_to_zero
            assert not (before == "True" and now - since < spec.stable_window_s)
        if outcome.active == "True":
            assert ready >= ready_min(spec)
        assert outcome.recheck_at is None or outcome.recheck_at >= now
