import asyncio

import pytest

from dataplane.testing.clock import VirtualTimeLoop


def test_an_hour_of_sleep_passes_at_once_and_the_clock_shows_it() -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(3600)
        return loop.time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(work()) == pytest.approx(3600)


def test_timers_fire_in_order_of_their_times() -> None:
    seen: list[int] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for delay in (30, 10, 20):
            loop.call_later(delay, seen.append, delay)
        await asyncio.sleep(31)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(work())
    assert seen == [10, 20, 30]


def test_waiting_for_what_never_comes_fails_instead_of_hanging() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualTimeLoop()
    main = loop.create_task(work())
    with pytest.raises(AssertionError, match="deadlock"):
        loop.run_until_complete(main)
    main.cancel()
    loop.run_until_complete(asyncio.gather(main, return_exceptions=True))
    loop.close()


def test_its_clock_gives_wall_time_that_moves_with_the_loop() -> None:
    loop = VirtualTimeLoop()
    clock = loop.clock(wall_s=1000.0)
    loop.run_until_complete(asyncio.sleep(5))
    assert clock.wall() == pytest.approx(1005.0)
    assert clock.monotonic() == pytest.approx(5.0)
    loop.close()
