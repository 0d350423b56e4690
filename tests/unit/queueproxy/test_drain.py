"""The drain of §9.10 in virtual time."""

import asyncio

from dataplane.testing.clock import VirtualTimeLoop
from queueproxy.drain import Drain


def run(script, *, quiet_s=30.0, tunnels_s=60.0):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()

        async def main():
            return await script(loop, Drain(clock=loop.time, quiet_s=quiet_s, tunnels_s=tunnels_s))

        return runner.run(main())


async def drained(loop, drain) -> tuple[float, float]:
    """When it was quiet, and when it was empty."""
    drain.end()
    await drain.quiet()
    quiet = loop.time()
    await drain.empty()
    return quiet, loop.time()


def test_thirty_seconds_without_a_request():
    assert run(drained) == (30.0, 30.0)


def test_the_quiet_time_counts_from_sigterm_for_a_pod_that_was_idle():
    async def script(loop, drain):
        await asyncio.sleep(100)
        return await drained(loop, drain)

    assert run(script) == (130.0, 130.0)


def test_each_request_begins_it_anew():
    async def script(loop, drain):
        def request():
            drain.arrived(loop.time())
            drain.departed()

        for when in (10, 35, 60):
            loop.call_at(when, request)
        return await drained(loop, drain)

    assert run(script) == (90.0, 90.0)


def test_what_runs_is_waited_for():
    async def script(loop, drain):
        drain.arrived(loop.time())
        loop.call_at(300, drain.departed)
        return await drained(loop, drain)

    assert run(script) == (30.0, 300.0)


def test_websockets_are_waited_for_a_minute_beyond_the_last_ordinary_request():
    async def script(loop, drain):
        drain.arrived(loop.time())
        drain.arrived(loop.time())
        drain.tunnels = 1
        loop.call_at(45, drain.departed)
        return await drained(loop, drain)

    assert run(script) == (30.0, 105.0)


def test_a_websocket_that_ends_ends_the_wait():
    async def script(loop, drain):
        drain.arrived(loop.time())
        drain.tunnels = 1

        def ends():
            drain.tunnels -= 1
            drain.departed()

        loop.call_at(50, ends)
        return await drained(loop, drain)

    assert run(script) == (30.0, 50.0)


def test_the_hook_begins_and_sigterm_does_not_begin_again():
    async def script(loop, drain):
        drain.begin()
        await asyncio.sleep(0.5)
        return await drained(loop, drain)

    assert run(script) == (30.0, 30.0)


def test_after_sigterm_there_is_no_way_back():
    async def script(loop, drain):
        drain.end()
        drain.reset()
        return drain.draining

    assert run(script) is True


def test_the_hook_learns_whether_sigterm_came():
    async def script(loop, drain):
        early = await drain.sigterm(loop.time() + 1)
        loop.call_later(0.5, drain.end)
        came = await drain.sigterm(loop.time() + 1)
        return early, came, loop.time()

    assert run(script) == (False, True, 1.5)
