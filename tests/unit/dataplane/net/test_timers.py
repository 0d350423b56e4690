import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.net.timers import NEVER, TICK_S, Timers
from dataplane.testing.clock import VirtualTimeLoop


class Entry:
    def __init__(self, timers, loop):
        self.wake, self.fired, self._timers, self._loop = NEVER, [], timers, loop

    def on_timer(self, now):
        self.fired.append(self._loop.time())


def run(main):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def made():
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    return loop, timers, Entry(timers, loop)


def test_fires_at_or_after_its_time_within_a_tick():
    async def main():
        loop, timers, entry = made()
        timers.at(entry, 1.0)
        await asyncio.sleep(5)
        assert len(entry.fired) == 1
        assert 1.0 <= entry.fired[0] <= 1.0 + 2 * TICK_S
        assert entry.wake == NEVER

    run(main)


def test_a_later_time_changes_nothing_and_an_earlier_one_moves_it():
    async def main():
        loop, timers, entry = made()
        timers.at(entry, 2.0)
        timers.at(entry, 9.0)
        timers.at(entry, 1.0)
        await asyncio.sleep(20)
        assert len(entry.fired) == 1
        assert entry.fired[0] < 1.5

    run(main)


def test_forgotten_entries_do_not_fire_and_an_empty_wheel_has_no_timer():
    async def main():
        loop, timers, entry = made()
        timers.at(entry, 1.0)
        timers.forget(entry)
        await asyncio.sleep(2)
        assert entry.fired == []
        assert len(timers) == 0
        assert timers._handle is None

    run(main)


def test_an_entry_may_ask_again_from_its_own_call():
    async def main():
        loop, timers, entry = made()
        entry.on_timer = lambda now: (
            entry.fired.append(now),
            timers.at(entry, now + 1.0) if len(entry.fired) < 3 else None,
        )
        timers.at(entry, 1.0)
        await asyncio.sleep(10)
        assert len(entry.fired) == 3

    run(main)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 30), st.booleans()), max_size=40))
def test_whatever_is_asked_the_earliest_wish_is_met(script):
    async def main():
        loop = asyncio.get_running_loop()
        timers = Timers(loop)
        entries = [Entry(timers, loop) for _ in range(5)]
        wanted = dict.fromkeys(range(5), NEVER)
        for which, when, forget in script:
            if forget:
                timers.forget(entries[which])
                wanted[which] = NEVER
            else:
                timers.at(entries[which], when)
                wanted[which] = min(wanted[which], when)
        await asyncio.sleep(60)
        for which, when in wanted.items():
            if when == NEVER:
                assert entries[which].fired == []
            else:
                assert len(entries[which].fired) == 1
                assert when <= entries[which].fired[0] + 1e-9
                assert entries[which].fired[0] <= when + 2 * TICK_S

    run(main)


def test_an_entry_that_raises_or_forgets_its_neighbour_stops_nobody_else():
    async def main():
        loop, timers, entry = made()

        class Broken:
            wake = NEVER

            def on_timer(self, now):
                raise RuntimeError("a mistake")

        for _ in range(20):
            timers.at(Broken(), 1.0)
        timers.at(entry, 1.0)
        late = Entry(timers, loop)
        timers.at(late, 2.0)
        await asyncio.sleep(5)
        assert len(entry.fired) == len(late.fired) == 1

    run(main)
