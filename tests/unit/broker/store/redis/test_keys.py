import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store.redis.keys import AGAIN, Keys, entry_id, parse_position, place, position, shard_of

seqs = st.integers(0, (1 << 64) - 1)


@given(st.integers(0, 1 << 48), seqs)
def test_a_place_is_an_id_and_back_and_sorts_as_redis_does(ms: int, seq: int) -> None:
    id_ = f"{ms}-{seq}"
    assert entry_id(place(id_.encode())) == id_
    assert place(id_.encode()) < place(f"{ms + 1}-0".encode())


@given(st.integers(0, 63), st.integers(0, 1 << 48), seqs)
def test_a_position_names_shard_and_entry(shard: int, ms: int, seq: int) -> None:
    text = position(shard, f"{ms}-{seq}".encode())
    assert parse_position(text) == (shard, ms << 64 | seq)


@pytest.mark.parametrize("text", ["", "x", "1-", "1-x", "-1", "1-2@", "1-2@x", "1-2@-1", "1.5-2"])
def test_what_is_no_position_is_told_so(text: str) -> None:
    if text == "1-2@":
        assert parse_position(text) == (0, (1 << 64) | 2)
        return
    with pytest.raises(ValueError, match="position"):
        parse_position(text)


def test_all_keys_of_a_broker_are_in_one_slot_and_found_by_one_pattern() -> None:
    keys = Keys("default/my*broker")
    names = [keys.stream(0), keys.stream(AGAIN, "u"), keys.heads, keys.retry("u"), keys.letters("u", "parked")]
    assert all("{default/my*broker}" in name for name in names)
    assert keys.everything == "fe:{default/my\\*broker}:*"


def test_the_dedup_key_tells_source_and_id_apart() -> None:
    keys = Keys("a/b")
    assert keys.seen("ab", "c") != keys.seen("a", "bc")
    assert keys.seen("a", "b") == keys.seen("a", "b")


def test_shards_are_those_of_redis_cluster() -> None:
    assert shard_of("123456789", 16384) == 0x31C3  # the check value of the specification
    assert {shard_of(f"key{i}", 4) for i in range(100)} == {0, 1, 2, 3}
