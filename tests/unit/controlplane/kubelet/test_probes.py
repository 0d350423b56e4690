"""When probes run and what they mean; time is an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubelet.probes import Course
from dataplane.resources.core import Probe


def run(course: Course, answers: str) -> list[bool]:
    """`+` and `-` at each due time; where the verdict changed."""
    return [course.answered(one == "+", course.due) for one in answers]


def test_an_aggressive_probe_asks_every_2_ms_at_first_then_less_often():
    course = Course("readiness", Probe(success_threshold=1), 0.0)
    times = []
    while course.due < 11:
        times.append(course.due)
        course.answered(False, course.due)
    assert times[:3] == pytest.approx([0.0, 0.002, 0.004])
    pauses = {round(b - a, 6) for a, b in zip(times, times[1:], strict=False)}
    assert pauses == {0.002, 0.005, 0.01, 0.05, 0.25}


def test_an_aggressive_try_has_100_ms():
    assert Course("readiness", Probe(), 0.0).timeout_s == 0.1


def test_the_first_success_makes_it_ready_and_then_it_is_asked_every_10_s():
    course = Course("readiness", Probe(success_threshold=1), 0.0)
    assert run(course, "--+") == [True, False, True]
    assert course.passing
    assert not course.eager
    assert course.timeout_s == 1.0
    before = course.due
    course.answered(True, before)
    assert course.due == before + 10


def test_three_failures_in_a_row_make_it_unready_and_eager_again():
    course = Course("readiness", Probe(success_threshold=1), 0.0)
    assert run(course, "+--+---") == [True, False, False, False, False, False, True]
    assert course.eager


def test_successes_must_be_consecutive():
    course = Course("readiness", Probe(period_seconds=5, success_threshold=3), 0.0)
    assert run(course, "++-+++")[-1]
    assert course.passing


def test_a_configured_probe_keeps_its_own_times():
    probe = Probe(initial_delay_seconds=7, period_seconds=5, timeout_seconds=2, failure_threshold=2)
    course = Course("liveness", probe, 100.0)
    assert (course.due, course.timeout_s) == (107.0, 2.0)
    assert run(course, "+-") == [True, False]
    assert course.due == 117.0
    assert run(course, "-") == [True]
    assert course.passing is False


@pytest.mark.parametrize("kind", ["liveness", "startup"])
def test_liveness_and_startup_are_never_aggressive(kind):
    course = Course(kind, Probe(), 0.0)
    assert not course.eager
    course.answered(False, 0.0)
    assert course.due == 10.0
    assert run(course, "--") == [False, True]


def test_a_storm_of_starting_pods_is_asked_less_often():
    course = Course("readiness", Probe(), 0.0)
    course.answered(False, 0.0, starting=100)
    assert course.due == pytest.approx(0.1)


@given(st.text("+-", max_size=60), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_the_verdict_is_a_run_of_equal_answers(answers, successes, failures, period):
    probe = Probe(period_seconds=period, success_threshold=successes, failure_threshold=failures)
    course = Course("readiness", probe, 0.0)
    verdict = None
    for index, one in enumerate(answers):
        before = course.due
        course.answered(one == "+", before)
        assert course.due > before
        seen = answers[: index + 1]
        if seen.endswith("+" * successes):
            verdict = True
        elif seen.endswith("-" * failures) or (verdict is None and one == "-"):
            verdict = False
        assert course.passing is verdict
