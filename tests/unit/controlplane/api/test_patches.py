import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api import patches
from controlplane.api.status import ApiError

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
MAPS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def rfc7386(target: Any, patch: Any) -> Any:
    """The RFC's own pseudo code."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            if name in target:
                del target[name]
        else:
            target[name] = rfc7386(target.get(name), value)
    return target


@given(MAPS, MAPS)
def test_merge_patch_is_rfc_7386_and_leaves_its_arguments_alone(present: Any, patch: Any) -> None:
    before = copy.deepcopy((present, patch))
    assert patches.merge(present, patch) == rfc7386(copy.deepcopy(present), patch)
    assert (present, patch) == before


@given(
    MAPS, st.lists(st.dictionaries(st.sampled_from(["op", "path", "from", "value"]), VALUES, max_size=4), max_size=4)
)
def test_any_json_patch_gives_an_object_or_an_api_error(present: Any, operations: Any) -> None:
    try:
        assert isinstance(patches.json(present, operations), dict)
    except ApiError as error:
        assert error.code in (400, 413, 422)


def test_json_patch_operations() -> None:
    operations = [
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "add", "path": "/a/-", "value": 2},
        {"op": "replace", "path": "/b", "value": 3},
        {"op": "copy", "from": "/a", "path": "/c"},
        {"op": "move", "from": "/b", "path": "/d"},
        {"op": "remove", "path": "/a"},
    ]
    assert patches.json({"a": [1], "b": 0}, operations) == {"c": [1, 2], "d": 3}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({"op": "add"}, 400),
        ([1], 400),
        ([{"op": "fly", "path": "/a"}], 400),
        ([{"op": "remove", "path": ""}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "remove", "path": "/nope"}], 422),
        ([{"op": "add", "path": "/a/b/c", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
    ],
)
def test_json_patches_that_do_not_apply(operations: Any, code: int) -> None:
    with pytest.raises(ApiError) as error:
        patches.json({"a": 1}, operations)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ({"op": "replace", "path": "/data/nope", "value": 1}, "replace /data/nope: the object has no such place"),
        ({"op": "copy", "from": "/nope", "path": "/a"}, "copy /nope /a: the object has no such place"),
        ({"op": "test", "path": "/data/key", "value": 2}, "test /data/key: another value is there"),
        ({"op": "add", "path": "/data/key/deeper", "value": 2}, "add /data/key/deeper: the object has no such place"),
    ],
)
def test_what_does_not_apply_is_named_without_what_is_there(operation: Any, why: str) -> None:
    with pytest.raises(ApiError) as error:
        patches.json({"data": {"key": "a secret"}}, [operation])
    assert error.value.message.endswith(why)
    assert "a secret" not in error.value.message


def test_a_json_patch_cannot_double_itself_into_all_memory() -> None:
    bomb = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(60)]
    with pytest.raises(ApiError) as error:
        patches.json({"a": {"x": "y" * 1000}}, bomb)
    assert error.value.code == 413


def test_strategic_merge_merges_lists_by_their_keys() -> None:
    present = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {
        "containers": [
            {"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "$patch": "delete"}]},
            {"name": "b", "$patch": "delete"},
            {"name": "c", "image": "3"},
        ],
        "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
    }
    assert patches.strategic(present, patch) == {
        "containers": [
            {"name": "a", "image": "1", "env": [{"name": "Y", "value": "2"}]},
            {"name": "c", "image": "3"},
        ]
    }


def test_strategic_merge_directives() -> None:
    assert patches.strategic({"a": {"x": 1}}, {"a": {"$patch": "replace", "y": 2}}) == {"a": {"y": 2}}
    assert patches.strategic({"a": {"x": 1}}, {"a": {"$patch": "delete"}}) == {"a": {}}
    assert patches.strategic({"a": 1, "b": 2}, {"$retainKeys": ["b", "c"], "c": 3}) == {"b": 2, "c": 3}
    assert patches.strategic({"finalizers": ["a"]}, {"finalizers": ["b"]}) == {"finalizers": ["a", "b"]}
    removed = patches.strategic({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]})
    assert removed == {"finalizers": ["b"]}
    replaced = patches.strategic({"env": [{"name": "a"}]}, {"env": [{"$patch": "replace"}, {"name": "b"}]})
    assert replaced == {"env": [{"name": "b"}]}


def test_strategic_merge_replaces_lists_without_a_key() -> None:
    assert patches.strategic({"traffic": [{"percent": 1}]}, {"traffic": [{"percent": 2}]}) == {
        "traffic": [{"percent": 2}]
    }


@given(MAPS, MAPS)
def test_strategic_merge_of_data_without_lists_or_directives_is_a_merge_patch(present: Any, patch: Any) -> None:
    def flat(value: Any) -> Any:
        return {k: flat(v) for k, v in value.items()} if isinstance(value, dict) else value if value != [] else 0

    assert patches.strategic(present, patch) is not None
    if "[" not in str(patch):
        assert patches.strategic(present, patch) == patches.merge(present, patch)
