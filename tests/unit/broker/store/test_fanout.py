"""One read and one match for everybody at the head; whoever falls behind catches up alone, and nobody waits for it."""

import asyncio
from collections.abc import Sequence

from broker.store import fanout
from broker.store.contract import PASSED_MAX, Delivery, LogSettings, Record, Start
from broker.store.fanout import SLICE
from broker.store.memory import MemoryLog, MemoryStore
from dataplane.testing.clock import VirtualTimeLoop
from dataplane.wire.cloudevents import Event


def record(id: str, type: str = "t", at: float = 1.0, **more: float) -> Record:
    return Record(
        event=Event({"specversion": "1.0", "id": id, "source": "/s", "type": type}, b""), arrived_at=at, **more
    )


class Consumer:
    ordered = False

    def __init__(self, key: str, type: str = "t", room: int = 10_000) -> None:
        self.key = self.name = key
        self.interest = ("type", type)
        self.type = type
        self.capacity = room
        self.got: list[Delivery] = []
        self.batches = self.asked = self.matched = 0

    def matches(self, event: Event) -> bool:
        self.matched += 1
        return event.type == self.type

    def room(self) -> int:
        self.asked += 1
        return self.capacity - len(self.got)

    def fresh(self) -> int:
        return self.room()

    def revoked(self) -> None:
        """It goes on with what it has."""

    def deliver(self, batch: Sequence[Delivery]) -> None:
        self.batches += 1
        self.got += batch

    @property
    def ids(self) -> list[str]:
        return [one.record.event.id for one in self.got]


def run(scenario) -> None:
    """In virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:

        async def inner() -> None:
            loop = asyncio.get_running_loop()
            log = await MemoryStore(clock=loop.clock()).open("a/b", LogSettings(retention_s=0))
            await scenario(loop, log)
            await log.close()

        runner.run(inner())


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def append(log: MemoryLog, *batch: Record) -> None:
    log.append(batch, lambda fault: None)


def test_a_record_is_matched_once_for_the_triggers_that_may_want_it_and_shared() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        same = [Consumer(f"same{i}") for i in range(100)]
        other = [Consumer(f"other{i}", type=f"t{i}") for i in range(900)]
        for consumer in [*same, *other]:
            await log.subscribe(consumer, Start())
        await turns()
        for consumer in [*same, *other]:
            consumer.matched = consumer.asked = 0
        append(log, record("a"), record("b"))
        await turns()
        assert all(consumer.ids == ["a", "b"] and consumer.batches == 1 for consumer in same)
        assert sum(consumer.matched + consumer.asked for consumer in other) == 0, "nobody else is even asked"
        assert {consumer.matched for consumer in same} == {2}
        assert {consumer.asked for consumer in same} == {1}
        assert len({id(consumer.got[0].record) for consumer in same}) == 1, "one object, by reference"

    run(scenario)


def test_a_trigger_without_room_delays_nobody_and_catches_up_in_order() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        slow, fast = Consumer("slow", room=3), Consumer("fast")
        place = await log.subscribe(slow, Start())
        await log.subscribe(fast, Start())
        await turns()
        for i in range(300):
            append(log, record(f"e{i}"))
            await turns(3)
        assert len(fast.got) == 300
        assert slow.ids == ["e0", "e1", "e2"]
        assert place.behind
        slow.capacity = 1000
        place.more()
        await turns(100)
        assert slow.ids == [f"e{i}" for i in range(300)]
        assert not place.behind
        append(log, record("next"))
        await turns()
        assert slow.ids[-1] == "next"

    run(scenario)


def test_triggers_that_are_behind_take_turns() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        append(log, *[record(f"e{i}") for i in range(20 * SLICE)])
        await turns()
        many = [Consumer(f"c{i}") for i in range(8)]
        for consumer in many:
            await log.subscribe(consumer, Start("earliest"))
        for _ in range(200):
            await asyncio.sleep(0)
            lengths = [len(consumer.got) for consumer in many]
            assert max(lengths) - min(lengths) <= SLICE, "nobody is more than a slice ahead"
            if min(lengths) == 20 * SLICE:
                break
        assert min(lengths) == 20 * SLICE

    run(scenario)


def test_one_timer_serves_all_that_wait_for_their_time() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        consumers = [Consumer(f"c{i}") for i in range(50)]
        places = [await log.subscribe(consumer, Start()) for consumer in consumers]
        append(log, *[record(f"e{i}") for i in range(20)])
        await turns()
        wall_s = log._clock.wall()
        timers = len(loop._scheduled)
        for place, consumer in zip(places, consumers, strict=True):
            for i, delivery in enumerate(consumer.got):
                place.later(delivery, due_at=wall_s + 10 + i, attempt=2)
            consumer.got.clear()
        live = [timer for timer in loop._scheduled if not timer.cancelled()]
        assert len(live) <= timers + 1
        await asyncio.sleep(9)
        assert not any(consumer.got for consumer in consumers)
        await asyncio.sleep(2.5)
        assert all(consumer.ids == ["e0", "e1"] for consumer in consumers)
        await asyncio.sleep(30)
        assert all(len(consumer.got) == 20 for consumer in consumers)
        assert all(delivery.attempt == 2 for delivery in consumers[0].got)

    run(scenario)


def test_a_delayed_record_waits_and_an_ordered_trigger_gets_it_at_once_to_keep_its_place() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        plain, ordered = Consumer("plain"), Consumer("ordered")
        ordered.ordered = True
        await log.subscribe(plain, Start())
        await log.subscribe(ordered, Start())
        await turns()
        due = log._clock.wall() + 60
        append(log, record("late", not_before=due), record("now"))
        await turns()
        assert plain.ids == ["now"]
        assert [(one.record.event.id, one.due_at) for one in ordered.got] == [("late", due), ("now", 0.0)]
        await asyncio.sleep(61)
        assert plain.ids == ["now", "late"]
        assert plain.got[1].attempt == 1

    run(scenario)


def test_nothing_per_event_makes_a_task_or_a_timer() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        consumer = Consumer("c")
        place = await log.subscribe(consumer, Start())
        await turns()
        tasks, timers = len(asyncio.all_tasks()), len(loop._scheduled)
        for i in range(100):
            append(log, record(f"e{i}"))
        await turns()
        for delivery in consumer.got:
            place.settle(delivery)
            place.more()
        assert len(asyncio.all_tasks()) == tasks
        assert len(loop._scheduled) <= timers + 1

    run(scenario)


def test_a_commit_for_many_triggers_is_handed_over_in_turns(monkeypatch) -> None:
    """A hundred records for a hundred triggers are ten thousand requests: the loop must live meanwhile."""
    monkeypatch.setattr(fanout, "FEED_MAX", 50)
    monkeypatch.setattr(fanout, "TURN_MAX", 20)

    async def scenario(loop, log: MemoryLog) -> None:
        many = [Consumer(f"c{i}") for i in range(40)]
        for consumer in many:
            await log.subscribe(consumer, Start())
        append(log, *[record(f"e{i}") for i in range(100)])
        before = most = 0
        for _ in range(2000):
            await asyncio.sleep(0)
            now = sum(len(consumer.got) for consumer in many)
            most = max(most, now - before)
            before = now
            if now == 4000:
                break
        assert all(consumer.ids == [f"e{i}" for i in range(100)] for consumer in many)
        assert most <= 50 + 20 + SLICE

    run(scenario)


def test_what_a_trigger_leapt_over_is_bounded_and_never_comes_twice() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        """One place: each return it takes one new record, and the next ones wait."""
        slow = Consumer("slow", room=0)
        place = await log.subscribe(slow, Start())
        slow.fresh = lambda: 1 - (len(slow.got) - taken)
        for i in range(100):
            taken = len(slow.got)
            append(log, record(f"new{i}"), record(f"waits{i}"))
            await turns(5)
            place.newest_first()
        assert len(place.progress.gaps) == PASSED_MAX
        assert len(slow.got) == 100, "beyond that it reads in order, and goes on"
        slow.capacity = 1000
        place.more()
        await turns(500)
        assert sorted(slow.ids) == sorted([*(f"new{i}" for i in range(100)), *(f"waits{i}" for i in range(100))])
        assert (place.progress.gaps, place.newest, place.behind) == ([], False, False)

    run(scenario)


def test_a_consumer_that_raises_costs_nobody_an_event() -> None:
    async def scenario(loop, log: MemoryLog) -> None:
        """What it should never do. The loop is told, and everybody gets everything all the same."""
        told = []
        loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))
        before, broken, behind = Consumer("before"), Consumer("broken"), Consumer("behind")
        for consumer in (before, broken, behind):
            await log.subscribe(consumer, Start())
        await turns()
        append(log, record("first"))
        await turns()

        def fails() -> int:
            del broken.fresh
            raise RuntimeError("a bug")

        broken.fresh = fails
        append(log, *(record(f"e{i}") for i in range(10)))
        append(log, record("last"))
        await turns(50)
        assert [str(error) for error in told] == ["a bug"]
        everything = ["first", *(f"e{i}" for i in range(10)), "last"]
        assert before.ids == broken.ids == behind.ids == everything
        append(log, record("at the head again"))
        await turns()
        assert len(broken.ids) == len(everything) + 1

    run(scenario)
