from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api import fieldsets
from controlplane.api.fieldsets import Applied, ApplyConflict, Manager
from dataplane.resources.meta import ManagedFields

A, B = Manager("a", "Apply", "v1"), Manager("b", "Apply", "v1")
UPDATE = Manager("u", "Update", "v1")

VALUES = st.recursive(
    st.integers(0, 2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, min_size=1, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def apply(
    live: dict[str, Any],
    wanted: dict[str, Any],
    managed: tuple[ManagedFields, ...] = (),
    manager: Manager = A,
    force: bool = False,
) -> tuple[dict[str, Any], tuple[ManagedFields, ...]]:
    merged = fieldsets.merge(live, wanted, managed, manager)
    return merged, fieldsets.own(Applied(live, wanted, merged), managed, manager, force=force, time="t")


def owners(managed: tuple[ManagedFields, ...]) -> dict[str, set[str]]:
    return {entry.manager: {".".join(p) for p in fieldsets.decode(entry.fields_v1)} for entry in managed}


def test_leaves_are_scalars_lists_and_empty_maps_but_not_identity() -> None:
    body = {
        "apiVersion": "v1",
        "kind": "K",
        "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}, "managedFields": [1]},
        "spec": {"list": [1], "none": {}, "deep": {"x": 1}},
    }
    assert set(fieldsets.leaves(body)) == {
        ("metadata", "labels", "a"),
        ("spec", "list"),
        ("spec", "none"),
        ("spec", "deep", "x"),
    }


@given(BODIES)
def test_a_set_of_fields_survives_its_encoding(body: dict[str, Any]) -> None:
    assert fieldsets.decode(fieldsets.encode(fieldsets.leaves(body))) == set(fieldsets.leaves(body))


def test_keys_with_dots_and_slashes_are_keys() -> None:
    path = ("metadata", "labels", "serving.knative.dev/x")
    assert fieldsets.decode(fieldsets.encode([path])) == {path}


@given(st.recursive(st.integers() | st.text(max_size=3), lambda i: st.dictionaries(st.text(max_size=3), i)))
def test_any_json_is_a_set_of_fields(junk: Any) -> None:
    fieldsets.decode(junk if isinstance(junk, dict) else {"f:a": junk})


@given(BODIES, BODIES)
def test_a_forced_apply_is_in_the_result_and_applying_again_changes_nothing(live: Any, wanted: Any) -> None:
    merged, managed = apply(live, wanted, force=True)
    have = fieldsets.leaves(merged)
    assert all(have[path] == value for path, value in fieldsets.leaves(wanted).items())
    assert apply(merged, wanted, managed) == (merged, managed)


@given(BODIES, BODIES)
def test_what_one_manager_no_longer_applies_goes_and_the_rest_stays(first: Any, second: Any) -> None:
    merged, managed = apply({"z": {"kept": 1}}, first)
    merged, managed = apply(merged, second, managed)
    assert fieldsets.leaves(merged) == fieldsets.leaves({"z": {"kept": 1}, **second})
    assert owners(managed).get("a", set()) == {".".join(path) for path in fieldsets.leaves(second)}


@given(BODIES, BODIES, BODIES)
def test_what_another_manager_owns_is_never_removed_or_changed_without_force(
    mine: Any, theirs: Any, later: Any
) -> None:
    live, managed = apply({}, theirs, manager=B)
    owned = fieldsets.leaves(theirs)
    for wanted in (mine, later):
        try:
            live, managed = apply(live, wanted, managed)
        except ApplyConflict:
            continue
        have = fieldsets.leaves(live)
        assert all(have.get(path) == value for path, value in owned.items())


def test_a_different_value_is_a_conflict_that_names_field_and_manager() -> None:
    live, managed = apply({}, {"spec": {"x": 1, "y": 1}}, manager=B)
    with pytest.raises(ApplyConflict) as conflict:
        apply(live, {"spec": {"x": 2, "y": 1}}, managed)
    assert [(entry.manager, path) for entry, path in conflict.value.fields] == [("b", ".spec.x")]


def test_the_same_value_is_shared_and_stays_until_both_are_gone() -> None:
    live, managed = apply({}, {"x": 1}, manager=B)
    live, managed = apply(live, {"x": 1}, managed)
    assert owners(managed) == {"a": {"x"}, "b": {"x"}}
    live, managed = apply(live, {}, managed)
    assert live == {"x": 1}
    live, managed = apply(live, {}, managed, manager=B)
    assert (live, managed) == ({}, ())


def test_force_takes_the_field() -> None:
    live, managed = apply({}, {"x": 1, "y": 1}, manager=B)
    live, managed = apply(live, {"x": 2}, managed, force=True)
    assert live == {"x": 2, "y": 1}
    assert owners(managed) == {"a": {"x"}, "b": {"y"}}


def test_a_difference_that_defaulting_takes_back_is_no_conflict() -> None:
    live = {"list": [{"name": "a", "port": 80}]}
    managed = fieldsets.track({}, live, (), UPDATE, "t")
    wanted = {"list": [{"name": "a"}]}
    now = fieldsets.own(Applied(live, wanted, live), managed, A, force=False, time="t")
    assert owners(now) == {"a": {"list"}, "u": {"list"}}


def test_a_write_that_is_no_apply_takes_what_it_changes_and_frees_what_it_removes() -> None:
    live, managed = apply({}, {"x": 1, "y": 1, "z": 1})
    managed = fieldsets.track(live, {"x": 1, "y": 2}, managed, UPDATE, "t2")
    assert owners(managed) == {"a": {"x"}, "u": {"y"}}
    assert {entry.time for entry in managed if entry.manager == "u"} == {"t2"}


def test_nothing_written_leaves_every_entry_as_it_was() -> None:
    live, managed = apply({}, {"x": 1})
    assert fieldsets.track(live, live, managed, UPDATE, "later") == managed


def test_each_door_has_owners_of_its_own() -> None:
    main = fieldsets.track({}, {"spec": {"x": 1}}, (), UPDATE, "t")
    both = fieldsets.track({}, {"status": {"x": 1}}, main, UPDATE._replace(subresource="status"), "t")
    assert [(entry.subresource, entry.fields_v1) for entry in both] == [
        ("", {"f:spec": {"f:x": {}}}),
        ("status", {"f:status": {"f:x": {}}}),
    ]


def test_a_map_that_was_empty_is_not_taken_away_with_what_others_put_into_it() -> None:
    live, managed = apply({}, {"m": {}})
    live, managed = apply(live, {"m": {"theirs": 1}}, managed, manager=B, force=True)
    live, managed = apply(live, {}, managed)
    assert live == {"m": {"theirs": 1}}
