"""What of a partition is settled survives a commit, whatever order it was settled in."""

from hypothesis import given
from hypothesis import strategies as st

from broker.store.contract import PASSED_MAX
from broker.store.kafka.commit import FIRST, METADATA_CHARS_MAX, Commit, Try, uid_of
from broker.store.kafka.partition import Partition


def read(partition: Partition, *offsets: int) -> list[Try | None]:
    return [partition.take(offset, 1.0) for offset in offsets]


def test_the_commit_is_the_lowest_offset_that_is_not_settled() -> None:
    partition = Partition(0, 10)
    read(partition, 10, 11, 12)
    partition.settle(11)
    assert partition.commit("u", "w").offset == 10
    partition.settle(10)
    assert partition.commit("u", "w").offset == 12
    partition.settle(12)
    assert partition.commit("u", "w").offset == 13


def test_a_new_owner_repeats_what_was_open_and_nothing_else() -> None:
    partition = Partition(0, 0)
    read(partition, *range(100))
    for offset in range(100):
        if offset not in (3, 40, 99):
            partition.settle(offset)
    partition.again(40, 5, 1000.5)
    after = Partition.restore(0, partition.commit("u", "w"))
    assert after.fetch_from == 3
    found = {offset: after.take(offset, 1.0) for offset in range(3, 103)}
    assert {offset: how for offset, how in found.items() if how is not None} == {
        3: FIRST,
        40: Try(5, 1000.5),
        99: FIRST,
        **dict.fromkeys(range(100, 103), FIRST),
    }


def test_settled_offsets_are_jumped_over() -> None:
    partition = Partition(0, 0)
    read(partition, *range(10_000))
    for offset in range(10_000):
        if offset not in (5, 9_000):
            partition.settle(offset)
    after = Partition.restore(0, partition.commit("u", "w"))
    assert after.fetch_from == 5
    after.take(5, 1.0)
    assert after.jump(6) == 9_000
    after.take(9_000, 1.0)
    assert after.jump(9_001) == 10_000
    assert after.jump(10_000) == 10_000


def test_more_open_than_a_commit_holds_comes_again_from_there_on() -> None:
    partition = Partition(0, 0)
    read(partition, *range(200_000))
    for offset in range(200_000):
        if offset % 20:
            partition.settle(offset)
    commit = partition.commit("u", "w")
    assert len(commit.metadata) <= METADATA_CHARS_MAX
    after = Partition.restore(0, commit)
    assert after.fetch_from == 0
    assert after.progress.next < 200_000
    assert after.progress.next % 20 == 0
    assert len(after.holes) > 1000
    assert set(after.holes) == set(range(0, after.progress.next, 20))


def test_a_commit_of_somebody_else_counts_as_its_offset() -> None:
    for metadata in ("", "by hand", "1 u w !!!", "1 u w gICA", "3 u w AA=="):
        after = Partition.restore(0, Commit(7, metadata))
        assert (after.fetch_from, after.holes) == (7, {})
    assert uid_of("by hand") == ""
    assert uid_of(Partition(0, 7).commit("uid-1", "w").metadata) == "uid-1"


def test_what_ends_after_the_partition_went_counts_for_nothing() -> None:
    partition = Partition(0, 0)
    read(partition, 0, 1)
    partition.alive = False
    assert not partition.settle(0)
    assert not partition.again(1, 2, 0.0)


def test_nothing_is_settled_twice() -> None:
    partition = Partition(0, 0)
    read(partition, 0)
    assert partition.settle(0)
    assert not partition.settle(0)


def test_after_a_seek_back_only_what_the_consumer_has_is_left_out() -> None:
    partition = Partition(0, 0)
    read(partition, 0, 1, 2)
    partition.settle(0)
    partition.settle(2)
    partition.seek(0)
    assert read(partition, 0, 1, 2) == [FIRST, None, FIRST]


def test_a_seek_forward_leaves_out_holes_too() -> None:
    partition = Partition(0, 0)
    read(partition, *range(10))
    after = Partition.restore(0, partition.commit("u", "w"))
    after.seek(50)
    assert after.fetch_from == 50
    assert after.commit("u", "w").offset == 50


def test_records_that_are_gone_are_counted_once() -> None:
    partition = Partition(0, 0)
    read(partition, 0, 1, 2)
    partition.settle(1)
    after = Partition.restore(0, partition.commit("u", "w"))
    assert after.lost(10) == 2 + 7
    assert after.fetch_from == 10
    assert after.lost(10) == 0


def test_a_log_that_ends_earlier_is_read_from_its_new_end() -> None:
    partition = Partition(0, 0)
    read(partition, *range(10))
    partition.settle(2)
    assert partition.cut(5) == 5
    assert partition.progress.next == 5
    assert sorted(partition.progress.open) == [0, 1, 3, 4]
    assert read(partition, 5) == [FIRST]


def test_what_stands_in_the_kept_topic_is_not_handed_over_again_until_a_replay() -> None:
    partition = Partition(0, 0)
    partition.kept = {1}
    assert read(partition, 0, 1, 2) == [FIRST, None, FIRST]
    partition.kept = {1}
    partition.settle(0)
    partition.settle(2)
    partition.seek(0)
    assert read(partition, 0, 1, 2) == [FIRST, FIRST, FIRST]


@given(st.lists(st.integers(0, 199), unique=True), st.lists(st.tuples(st.integers(0, 199), st.integers(2, 300))))
def test_any_order_of_settling_survives_a_commit(settled: list[int], tried: list[tuple[int, int]]) -> None:
    partition = Partition(0, 0)
    read(partition, *range(200))
    for offset in settled:
        partition.settle(offset)
    attempts = {offset: attempt for offset, attempt in tried if partition.again(offset, attempt, 0.0)}
    after = Partition.restore(0, partition.commit("u", "w"))
    again = {offset: how for offset in range(200) if (how := after.take(offset, 1.0)) is not None}
    assert set(again) == set(range(200)) - set(settled)
    assert {offset: how.attempt for offset, how in again.items() if how.attempt > 1} == attempts


# ---- apart ----


def read_apart(partition: Partition) -> list[int]:
    """As the reader of what was passed over does: from the lowest on, to the end of what lies apart."""
    found: list[int] = []
    while (at := partition.unread_from(0)) is not None:
        if partition.take_apart(at, 1.0) is not None:
            found.append(at)
        partition.passed_apart(at + 1)
    return found


def test_what_was_passed_over_is_read_beside_what_is_new() -> None:
    partition = Partition(0, 0)
    read(partition, 0, 1)
    partition.leap(10)
    assert partition.fetch_from == 10
    assert read(partition, 5, 10, 11) == [None, FIRST, FIRST]
    assert partition.unread_from(0) == 2
    assert read_apart(partition) == list(range(2, 10))
    assert not partition.apart
    assert sorted(partition.progress.open) == list(range(12))


def test_with_the_last_that_was_passed_over_nothing_lies_apart() -> None:
    """Whether or not the rest of what was fetched with it was looked at."""
    partition = Partition(0, 0)
    partition.leap(2)
    assert [partition.take_apart(offset, 1.0) for offset in (0, 1, 2)] == [FIRST, FIRST, None]
    assert not partition.apart
    again = Partition.restore(0, Partition.commit(partition, "u", "w"))
    again.leap(3)
    for offset in (0, 1):
        assert again.apart
        again.take_apart(offset, 1.0)
    assert again.unread_from(0) == 2


def test_what_a_former_owner_left_open_lies_apart_too_once_something_was_passed_over() -> None:
    partition = Partition(0, 0)
    read(partition, *range(5))
    partition.settle(2)
    partition.again(3, 7, 1000.5)
    after = Partition.restore(0, partition.commit("u", "w"))
    assert after.fetch_from == 0
    after.leap(8)
    assert after.fetch_from == 8
    assert read(after, 0, 8) == [None, FIRST]
    assert read_apart(after) == [0, 1, 3, 4, 5, 6, 7]
    assert after.tries == {3: Try(7, 1000.5)}


def test_reading_on_at_the_head_settles_nothing_that_lies_apart() -> None:
    partition = Partition(0, 0)
    read(partition, *range(3))
    after = Partition.restore(0, partition.commit("u", "w"))
    after.leap(5)
    after.passed(20)
    assert read_apart(after) == [0, 1, 2, 3, 4]


def test_where_nothing_waits_or_too_many_ranges_do_nothing_is_passed_over() -> None:
    partition = Partition(0, 0)
    assert not partition.leap(0)
    assert not partition.apart
    for i in range(PASSED_MAX):
        assert partition.leap(10 * i + 5)
        read(partition, 10 * i + 5)
        partition.passed(10 * i + 6)
    assert not partition.leap(10 * PASSED_MAX)


def test_of_a_range_that_retention_took_a_part_of_that_part_is_counted() -> None:
    partition = Partition(0, 0)
    partition.leap(10)
    read(partition, 10)
    partition.leap(20)
    assert partition.lost(15) == 10 + 4
    assert read_apart(partition) == list(range(15, 20))
    assert partition.lost(15) == 0


def test_a_log_that_ends_within_a_range_is_read_up_to_there() -> None:
    partition = Partition(0, 0)
    partition.leap(10)
    read(partition, 10)
    partition.leap(20)
    assert partition.cut(15) == 5
    assert partition.progress.gaps == [(0, 10), (11, 15)]
    assert partition.fetch_from == 15
    assert partition.cut(18) == 0, "what comes there is new"
    assert partition.fetch_from == 15


def test_a_seek_forgets_what_was_passed_over() -> None:
    partition = Partition(0, 0)
    partition.leap(10)
    partition.seek(5)
    assert partition.fetch_from == 5
    assert partition.unread_from(0) is None
    assert not partition.apart


def test_an_ordered_trigger_has_no_ranges() -> None:
    partition = Partition(0, 0)
    read(partition, 0, 1, 2)
    partition.settle(1)
    partition.leap(10)
    read(partition, 10)
    after = Partition.restore(0, partition.commit("u", "w"), ordered=True)
    assert after.fetch_from == 0
    assert [offset for offset in range(12) if after.take(offset, 1.0) is not None] == [0, *range(2, 12)]


def test_a_letter_in_a_range_is_not_handed_over_again() -> None:
    partition = Partition(0, 0)
    partition.kept = {3}
    partition.leap(6)
    assert read_apart(partition) == [0, 1, 2, 4, 5]


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, int]]:
    what = st.sampled_from(["new", "old", "settle", "leap", "restart", "append"])
    return draw(st.lists(st.tuples(what, st.integers(0, 30)), max_size=80))


@given(steps())
def test_every_offset_is_handed_over_and_what_is_settled_never_again(done: list[tuple[str, int]]) -> None:
    partition, end, settled, held = Partition(0, 0), 0, set(), []

    def hand(offset: int) -> None:
        assert offset not in settled
        assert offset not in held
        held.append(offset)

    def old(count: int) -> None:
        for _ in range(count):
            at = partition.unread_from(0) if partition.apart else None
            if at is not None:
                if partition.take_apart(at, 1.0) is not None:
                    hand(at)
                if count % 2:
                    partition.passed_apart(at + 1)
                assert partition.apart == (partition.unread_from(0) is not None)

    def new(count: int) -> None:
        at = partition.fetch_from
        for offset in range(at, min(at + count, end)):
            if partition.take(offset, 1.0) is not None:
                hand(offset)
            partition.passed(offset + 1)

    for what, count in done:
        match what:
            case "append":
                end += count
            case "new":
                new(count)
            case "old":
                old(count)
            case "leap":
                partition.leap(end)
            case "settle":
                for _ in range(min(count, len(held))):
                    offset = held.pop(count % len(held))
                    partition.settle(offset)
                    settled.add(offset)
            case "restart":
                held.clear()
                partition = Partition.restore(0, partition.commit("u", "w"))
    old(end)
    new(end)
    assert {*held, *settled} == set(range(end))


def test_what_the_consumer_let_go_is_read_again_with_its_attempt_and_what_it_has_is_not() -> None:
    partition = Partition(0, 0)
    read(partition, *range(10))
    partition.again(4, 3, 7.5)
    assert [partition.let_go(offset) for offset in (4, 6)] == [True, True]
    partition.settle(0)
    assert partition.fetch_from == 4
    assert read(partition, *range(4, 12)) == [Try(3, 7.5), None, FIRST, None, None, None, FIRST, FIRST]
    assert partition.commit("u", "w").offset == 1


def test_what_was_let_go_is_in_the_commit_as_open() -> None:
    partition = Partition(0, 0)
    read(partition, *range(3))
    partition.again(1, 4, 9.0)
    partition.let_go(1)
    partition.settle(0)
    partition.settle(2)
    after = Partition.restore(0, partition.commit("u", "w"))
    assert read(after, 1, 2, 3) == [Try(4, 9.0), None, FIRST]


def test_what_was_let_go_after_a_seek_back_is_read_once() -> None:
    partition = Partition(0, 0)
    read(partition, *range(6))
    partition.seek(2)
    assert partition.let_go(4)
    assert read(partition, 2, 3, 4, 5) == [None, None, FIRST, None]
    assert partition.holes == {}


def test_what_ended_or_belongs_to_somebody_else_cannot_be_let_go() -> None:
    partition = Partition(0, 0)
    read(partition, 0, 1)
    partition.settle(0)
    assert not partition.let_go(0)
    partition.alive = False
    assert not partition.let_go(1)
