from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.split import new_traffic

LATEST = [{"latestRevision": True, "percent": 100}]


def _shares(traffic: list[dict[str, Any]]) -> dict[str, int]:
    return {one.get("revisionName", "@latest"): one["percent"] for one in traffic}


def test_shares_that_sum_to_100_are_taken_as_they_stand() -> None:
    assert new_traffic(LATEST, ("hello-1=10", "@latest=90")) == [
        {"latestRevision": False, "revisionName": "hello-1", "percent": 10},
        {"latestRevision": True, "percent": 90},
    ]


def test_the_one_target_that_is_not_named_gets_the_rest() -> None:
    assert _shares(new_traffic(LATEST, ("hello-1=10",))) == {"hello-1": 10, "@latest": 90}
    present = [{"revisionName": "a", "percent": 50}, {"revisionName": "b", "percent": 50}]
    assert _shares(new_traffic(present, ("a=80%",))) == {"a": 80, "b": 20}


def test_no_traffic_at_all_means_latest() -> None:
    assert _shares(new_traffic([], ("a=1",))) == {"a": 1, "@latest": 99}


def test_a_target_without_a_share_leaves_unless_it_has_a_tag() -> None:
    present = [{"revisionName": "a", "percent": 60, "tag": "old"}, {"revisionName": "b", "percent": 40}]
    assert new_traffic(present, ("c=100",)) == [
        {"latestRevision": False, "revisionName": "c", "percent": 100},
        {"latestRevision": False, "revisionName": "a", "percent": 0, "tag": "old"},
    ]


def test_tags_alone_leave_the_shares_as_they_are() -> None:
    traffic = new_traffic(LATEST, (), tags=("hello-1=canary", "@latest=now"))
    assert traffic == [
        {"latestRevision": True, "percent": 100, "tag": "now"},
        {"latestRevision": False, "revisionName": "hello-1", "percent": 0, "tag": "canary"},
    ]
    assert new_traffic(traffic, (), untags=("canary",)) == [{"latestRevision": True, "percent": 100, "tag": "now"}]


def test_a_tag_moves_to_another_revision() -> None:
    present = [{"latestRevision": True, "percent": 100}, {"revisionName": "a", "percent": 0, "tag": "x"}]
    assert new_traffic(present, (), tags=("b=x",))[-1]["revisionName"] == "b"


@pytest.mark.parametrize(
    ("present", "shares", "tags", "untags", "words"),
    [
        (LATEST, ("a=60", "b=60"), (), (), "sum to 120"),
        (LATEST, ("@latest=60",), (), (), "sum to 60; they must sum to 100$"),
        (
            [{"revisionName": "a", "percent": 50}, {"revisionName": "b", "percent": 50}],
            ("c=1",),
            (),
            (),
            "a, b are not named",
        ),
        (LATEST, ("a",), (), (), "expected REVISION=PERCENT"),
        (LATEST, ("a=-1",), (), (), "expected REVISION=PERCENT"),
        (LATEST, ("a=1", "a=99"), (), (), "named twice"),
        (LATEST, (), ("canary",), (), "expected REVISION=NAME"),
        (LATEST, (), (), ("gone",), "no tag 'gone'"),
    ],
)
def test_what_cannot_be_says_what_would_be_right(
    present: list[dict[str, Any]], shares: tuple[str, ...], tags: tuple[str, ...], untags: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        new_traffic(present, shares, tags=tags, untags=untags)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "@latest"]), st.integers(0, 100)),
    st.dictionaries(st.sampled_from(["a", "b", "d", "@latest"]), st.integers(0, 100)),
)
def test_whatever_is_accepted_sums_to_100_and_names_every_tag_once(
    before: dict[str, int], asked: dict[str, int]
) -> None:
    present = [
        {**({"latestRevision": True} if n == "@latest" else {"revisionName": n}), "percent": p, "tag": f"t-{n[-1]}"}
        for n, p in before.items()
    ]
    try:
        traffic = new_traffic(present, tuple(f"{n}={p}" for n, p in asked.items()))
    except ValueError:
        return
    if asked:
        assert sum(one["percent"] for one in traffic) == 100
    tags = [one["tag"] for one in traffic if one.get("tag")]
    assert sorted(tags) == sorted(one["tag"] for one in present)
