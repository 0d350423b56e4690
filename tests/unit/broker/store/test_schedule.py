"""The nearest deliveries are in memory, the rest is counted, and none is forgotten or handed out twice."""

import math

from hypothesis import given
from hypothesis import strategies as st

from broker.store.schedule import Entry, Schedule


def entry(key: int, due_at: float = 0.0, written: bool = True) -> Entry:
    return Entry(key, 2, due_at, 0.0, written)


def test_what_is_due_comes_nearest_first_and_no_more_than_asked_for() -> None:
    schedule = Schedule()
    for key, due in ((1, 30.0), (2, 10.0), (3, 20.0), (4, 40.0)):
        schedule.put(entry(key, due), due)
    assert schedule.next_due() == 10.0
    assert [one.key for one in schedule.due(35.0, 2)] == [2, 3]
    assert [one.key for one in schedule.due(35.0, 2)] == [1]
    assert schedule.next_due() == 40.0


def test_what_was_dropped_or_put_again_does_not_come_at_its_old_time() -> None:
    schedule = Schedule()
    schedule.put(entry(1, 10.0), 10.0)
    schedule.put(entry(2, 10.0), 10.0)
    schedule.put(entry(1, 50.0), 50.0)
    assert schedule.drop(2)
    assert schedule.due(40.0, 10) == []
    assert [one.key for one in schedule.due(60.0, 10)] == [1]
    assert schedule.next_due() == math.inf


def test_beyond_its_window_the_latest_are_only_counted_and_read_again_later() -> None:
    schedule = Schedule(window_max=10)
    for key in range(1, 101):
        schedule.put(entry(key, float(key)), float(key))
        assert len(schedule.waiting) <= 20
    assert len(schedule) == 100
    came = []
    while len(schedule):
        came += [one.key for one in schedule.due(1000.0, 7)]
        if not schedule.waiting and schedule.beyond:
            rest = [
                (entry(key, float(key)), float(key))
                for key in range(1, 101)
                if key >= schedule.horizon and key not in came
            ]
            schedule.read_on(rest[:10], complete=len(rest) <= 10)
    assert came == list(range(1, 101))


def test_what_the_store_has_no_row_for_is_never_dropped_from_memory() -> None:
    schedule = Schedule(window_max=2)
    for key in range(1, 20):
        schedule.put(entry(key, float(key), written=False), float(key))
    assert len(schedule.waiting) == 19


@given(st.lists(st.tuples(st.integers(1, 12), st.floats(0, 100)), max_size=60), st.integers(1, 5))
def test_each_key_comes_once_at_its_last_time(puts: list[tuple[int, float]], step: int) -> None:
    schedule = Schedule()
    last: dict[int, float] = {}
    for key, due in puts:
        schedule.put(entry(key, due), due)
        last[key] = due
    came = []
    while schedule.waiting:
        now = schedule.next_due()
        for one in schedule.due(now, step):
            assert last[one.key] <= now
            came.append(one.key)
    assert sorted(came) == sorted(last)
    assert [last[key] for key in came] == sorted(last.values())
