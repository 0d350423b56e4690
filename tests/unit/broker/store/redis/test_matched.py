"""What matched and waits for room counts into what all triggers of a broker have in memory."""

from types import SimpleNamespace

from broker.store.redis.keys import place
from broker.store.redis.matched import Matched
from broker.store.redis.tail import Entry
from tests.eventstore import record


def entry(number: int, data: bytes = b"x" * 100) -> Entry:
    id_ = f"5-{number}".encode()
    return Entry(place(id_), id_, record(f"e{number}", data=data, at=float(number)), number)


def test_everything_that_is_kept_is_weighed_until_it_is_taken_dropped_or_forgotten() -> None:
    owner = SimpleNamespace(buffered=0)
    one, other = Matched(owner), Matched(owner)  # type: ignore[arg-type]
    for number in range(1, 6):
        one.keep(entry(number))
        other.keep(entry(number))
    assert owner.buffered == one.size_bytes + other.size_bytes == 10 * 356
    taken = one.take(2)
    assert [e.ordinal for e in taken] == [1, 2]
    assert owner.buffered == 8 * 356
    one.put_back(taken)
    assert one.first.ordinal == 1
    one.drop_below(place(b"5-4"))
    assert (one.first.ordinal, len(one)) == (4, 2)
    other.clear()
    assert owner.buffered == one.size_bytes == 2 * 356


def test_the_oldest_is_the_first_that_waits() -> None:
    matched = Matched(SimpleNamespace(buffered=0))  # type: ignore[arg-type]
    assert matched.oldest(7.0) == 7.0
    matched.keep(entry(3))
    matched.keep(entry(9))
    assert matched.oldest(7.0) == 3.0
    assert matched.oldest(2.0) == 2.0
