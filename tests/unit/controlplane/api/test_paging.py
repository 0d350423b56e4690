import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.paging import page
from controlplane.api.status import ApiError
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta, Resource


def objects(*names: str) -> list[Resource]:
    return [core.ConfigMap(metadata=ObjectMeta(name=n.split("/")[1], namespace=n.split("/")[0])) for n in names]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "ab", "b"]), st.text("xyz", min_size=1, max_size=3)), unique=True),
    st.integers(1, 5),
)
def test_pages_put_together_are_the_list(keys: list[tuple[str, str]], limit: int) -> None:
    everything = objects(*(f"{namespace}/{name}" for namespace, name in sorted(keys)))
    seen: list[Resource] = []
    token = ""
    while True:
        found, meta = page(everything, str(limit), token, 7)
        assert meta["resourceVersion"] == "7"
        assert len(found) <= limit
        seen += found
        token = meta.get("continue", "")
        if not token:
            break
        assert meta["remainingItemCount"] == len(everything) - len(seen)
    assert seen == everything


def test_later_pages_keep_the_version_of_the_first_so_that_a_watch_from_there_misses_nothing() -> None:
    _, first = page(objects("n/a", "n/b", "n/c"), "1", "", 10)
    rest, meta = page(objects("n/0new", "n/b", "n/c"), "5", first["continue"], 12)
    assert [one.metadata.name for one in rest] == ["b", "c"]
    assert meta == {"resourceVersion": "10"}


@pytest.mark.parametrize(("limit", "token"), [("x", ""), ("-1", ""), ("1", "!!"), ("1", "bm9wZQ=="), ("1", "e30=")])
def test_broken_limits_and_tokens_are_400(limit: str, token: str) -> None:
    with pytest.raises(ApiError) as error:
        page(objects("n/a"), limit, token, 1)
    assert error.value.code == 400
