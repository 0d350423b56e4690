"""One timer for all triggers of a broker: each is woken when the next of its schedule is due, and only then."""

import asyncio

import pytest

from broker.store.alarms import Alarms
from broker.store.schedule import Entry, Schedule
from dataplane.testing.clock import VirtualTimeLoop


class Place:
    def __init__(self, name: str) -> None:
        self.name, self.schedule, self.armed, self.closed = name, Schedule(), float("inf"), False


class House:
    """Alarms in virtual time. heard: who was woken, and after how many seconds. timers: when each was set to ring."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner, self.loop = runner, runner.get_loop()
        self.began = self.loop.time()
        self.heard: list[tuple[str, float]] = []
        self.timers: list[float] = []
        self.alarms = runner.run(self.make())
        call_at = self.loop.call_at

        def counted(when, *rest, **more):
            self.timers.append(when - self.began)
            return call_at(when, *rest, **more)

        self.loop.call_at = counted

    async def make(self) -> Alarms:
        return Alarms(self.due)

    def due(self, place: Place) -> None:
        self.heard.append((place.name, self.loop.time() - self.began))
        place.schedule.due(self.loop.time(), 100)
        self.alarms.arm(place)

    def wait(self, place: Place, seconds: float) -> None:
        place.schedule.put(Entry(len(place.schedule) + 1, 2, 0.0, 0.0), self.began + seconds)
        self.alarms.arm(place)

    def pass_by(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))


@pytest.fixture
def house():
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        yield House(runner)


def test_each_is_woken_at_its_time_whatever_the_order_it_was_armed_in(house):
    one, other = Place("one"), Place("other")
    for place, seconds in ((one, 30.0), (other, 10.0), (one, 20.0), (other, 40.0)):
        house.wait(place, seconds)
    house.pass_by(100.0)
    assert house.heard == [("other", 10.0), ("one", 20.0), ("one", 30.0), ("other", 40.0)]


def test_there_is_one_timer_however_many_wait(house):
    for seconds in range(10, 110):
        house.wait(Place(str(seconds)), float(seconds))
    assert house.timers == [10.0]
    house.wait(Place("sooner"), 5.0)
    assert house.timers == [10.0, 5.0]


def test_who_left_is_not_woken(house):
    gone, here = Place("gone"), Place("here")
    house.wait(gone, 10.0)
    house.wait(here, 20.0)
    gone.closed = True
    house.pass_by(100.0)
    assert house.heard == [("here", 20.0)]
