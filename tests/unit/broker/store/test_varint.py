"""Whole numbers as few bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store.varint import numbers, put


@given(st.lists(st.integers(min_value=0, max_value=1 << 70)))
def test_what_is_put_comes_out_in_order(given_: list[int]) -> None:
    out = bytearray()
    for number in given_:
        put(out, number)
    assert list(numbers(bytes(out))) == given_


def test_a_small_number_is_one_byte() -> None:
    out = bytearray()
    put(out, 0x7F)
    assert bytes(out) == b"\x7f"


def test_a_number_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        list(numbers(b"\x80"))
