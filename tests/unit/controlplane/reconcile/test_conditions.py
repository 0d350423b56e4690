"""The happy-state algebra (spec/serving.md §1.4, §1.5)."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.reconcile.conditions import READY, Conditions
from dataplane.resources.meta import Condition

A, B = "ApplesReady", "BreadReady"


def opened(*before, now=100.0, **more):
    return Conditions(tuple(before), (A, B), now, **more)


def test_a_new_object_is_unknown_throughout():
    assert [(c.type, c.status) for c in opened().close()] == [(A, "Unknown"), (B, "Unknown"), (READY, "Unknown")]


def test_a_new_dependent_of_a_ready_object_is_true():
    marks = opened(Condition(type=READY, status="True"))
    assert marks[A].status == marks[B].status == "True"


def test_ready_is_true_when_every_dependent_is():
    marks = opened()
    marks.true(A)
    assert marks[READY].status == "Unknown"
    marks.true(B)
    assert (marks[READY].status, marks[READY].reason) == ("True", "")


def test_ready_copies_a_false_dependent():
    marks = opened()
    marks.false(A, "Rotten", "no good")
    assert (marks[READY].status, marks[READY].reason, marks[READY].message) == ("False", "Rotten", "no good")


def test_false_stays_when_another_dependent_becomes_unknown():
    marks = opened()
    marks.false(A, "Rotten", "no good")
    marks.unknown(B, "Baking", "")
    assert (marks[READY].status, marks[READY].reason) == ("False", "Rotten")


def test_true_gives_way_to_the_newest_false_then_the_newest_unknown():
    marks = Conditions((), (A, B, "CheeseReady"), 100.0)
    marks.unknown(A, "Older")
    marks.unknown(B, "Newer")
    marks.true("CheeseReady")
    assert (marks[READY].status, marks[READY].reason) == ("Unknown", "Newer")
    marks.true(B)
    assert (marks[READY].status, marks[READY].reason) == ("Unknown", "Older")
    marks.false(A, "Rotten")
    marks.false(B, "Burnt")
    marks.true("CheeseReady")
    assert (marks[READY].status, marks[READY].reason) == ("False", "Burnt")


def test_what_is_no_dependent_is_info_and_does_not_count():
    marks = opened()
    marks.true(A)
    marks.true(B)
    marks.false("Active", "NoTraffic", "")
    assert marks["Active"].severity == "Info"
    assert marks[READY].status == "True"


def test_a_new_generation_starts_unknown_and_must_be_overwritten():
    before = opened()
    before.true(A)
    before.true(B)
    marks = opened(*before.close(), now=200.0, new_generation=True)
    assert (marks[READY].status, marks[READY].reason) == ("Unknown", "NewObservedGenFailure")
    marks.true(A)
    assert marks[READY].status == "True"


def test_changed_conditions_share_one_time_and_the_others_keep_theirs():
    first = opened(now=100.0)
    first.true(A)
    closed = first.close()
    second = opened(*closed, now=200.0)
    second.true(B)
    times = {c.type: c.last_transition_time for c in second.close()}
    assert times[A] == "1970-01-01T00:01:40Z"
    assert times[B] == times[READY] == "1970-01-01T00:03:20Z"


def test_the_time_changes_with_the_message_alone():
    first = opened(now=100.0)
    first.unknown(A, "Same", "one")
    second = opened(*first.close(), now=200.0)
    second.unknown(A, "Same", "two")
    assert {c.type: c.last_transition_time for c in second.close()}[A] == "1970-01-01T00:03:20Z"


MARK = st.tuples(st.sampled_from(["true", "unknown", "false"]), st.sampled_from([A, B, "Info"]), st.sampled_from("xyz"))


@given(st.lists(MARK, max_size=12))
def test_ready_is_always_the_sum_of_its_dependents(marks_made):
    marks = opened()
    for how, type_, reason in marks_made:
        getattr(marks, how)(type_, reason)
    found = {marks[A].status, marks[B].status}
    if "False" in found:
        assert marks[READY].status == "False"
    elif "Unknown" in found:
        assert marks[READY].status == "Unknown"
    else:
        assert marks[READY].status == "True"
    closed = marks.close()
    assert [c.type for c in closed] == sorted(c.type for c in closed)


@given(st.lists(MARK, max_size=12))
def test_marking_the_same_again_changes_nothing(marks_made):
    def run(before, now):
        marks = Conditions(before, (A, B), now)
        for how, type_, reason in marks_made:
            getattr(marks, how)(type_, reason)
        return marks.close()

    settled = run(run((), 100.0), 200.0)
    assert run(settled, 300.0) == settled
