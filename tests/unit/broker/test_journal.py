"""The ring of facts that `events tail` and `events trace` read."""

from broker.journal import Fact, Journal


def fact(n: int, broker: str = "default/b") -> Fact:
    return Fact(at=float(n), what="accepted", broker=broker, id=str(n), source="/s", type="t")


def test_the_oldest_facts_go_when_the_ring_is_full():
    journal = Journal(facts_max=3)
    for n in range(5):
        journal.note(fact(n))
    assert [f.id for f in journal.recent("default/b", 10)] == ["2", "3", "4"]


def test_recent_facts_are_of_one_broker_only():
    journal = Journal(facts_max=10)
    journal.note(fact(1))
    journal.note(fact(2, "other/b"))
    assert [f.id for f in journal.recent("default/b", 10)] == ["1"]


def test_facts_about_an_event_are_told_oldest_first():
    journal = Journal(facts_max=10)
    journal.note(fact(1))
    journal.note(fact(2))
    journal.note(fact(1)._replace(what="delivered"))
    assert [f.what for f in journal.about("default/b", "1")] == ["accepted", "delivered"]
    assert not list(journal.about("default/b", "1", "/other"))


def test_a_follower_sees_new_facts_until_it_stops():
    journal = Journal(facts_max=10)
    seen: list[Fact] = []
    stop = journal.follow(seen.append)
    journal.note(fact(1))
    stop()
    journal.note(fact(2))
    assert [f.id for f in seen] == ["1"]


def test_attributes_of_any_size_do_not_grow_the_ring():
    journal = Journal(facts_max=10)
    long = fact(1)._replace(id="i" * 60_000, source="s" * 60_000, type="t" * 60_000)
    journal.note(long)
    [kept] = journal.recent("default/b", 1)
    assert len(kept.id) + len(kept.source) + len(kept.type) < 1000
    assert list(journal.about("default/b", long.id, long.source)) == [kept]
