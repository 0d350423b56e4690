"""Stretches of a stream that were passed over, as text and as they become less."""

from hypothesis import given
from hypothesis import strategies as st

from broker.store.redis.keys import place
from broker.store.redis.passed import Stretch, behind, parse, render

MS = 1795781952928 << 64
A = Stretch(MS, MS + 9, 0, 10)
B = Stretch(MS + 20, MS + 20, 12, 13)

places = st.integers(0, (1 << 128) - 1)
counts = st.integers(-1, 1 << 62)


def test_a_stretch_is_written_from_where_to_where_and_between_which_counts() -> None:
    assert render([A, B]) == "1795781952928-0 1795781952928-9 0 10,1795781952928-20 1795781952928-20 12 13"
    assert render([]) == ""
    assert parse("") == []


@given(st.lists(st.builds(Stretch, places, places, counts, counts), max_size=16))
def test_what_was_written_is_read_again(stretches: list[Stretch]) -> None:
    assert parse(render(stretches)) == stretches


def test_the_lowest_begins_behind_what_was_handed_over_of_it() -> None:
    fifth = place(b"1795781952928-4")
    assert behind([A, B], fifth + 1, 5) == [Stretch(MS + 5, MS + 9, 5, 10), B]


def test_a_stretch_of_which_nothing_is_left_ends() -> None:
    assert behind([A, B], A.last + 1, 10) == [B]
    assert behind([B], B.last + 1, 13) == []


def test_the_last_entry_of_a_stretch_may_be_all_that_is_left() -> None:
    assert behind([A], A.last, 9) == [Stretch(A.last, A.last, 9, 10)]
