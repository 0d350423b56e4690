"""AC-06: an activator that is told to go loses nobody who waits in it."""

import asyncio
import signal

import pytest

from tests.openloop import Load, get, post

HOST = "cold.default.localhost"
WAITING = 60


async def _queued(load: Load, activators) -> None:
    """Until every request waits in an activator."""

    def depth() -> int:
        return sum(int(activator.metric("kn_revision_request_queued")) for activator in activators)

    for _ in range(600):
        if await asyncio.to_thread(depth) == len(load.shots):
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"only {await asyncio.to_thread(depth)} of {len(load.shots)} wait")


async def test_AC_06_who_waits_is_served_while_the_activator_drains(yard):
    yard.publish(cold=[])
    activator = await yard.activator()
    gateway = await yard.gateway(activator)
    async with Load(gateway.port, lambda n: post(HOST) if n % 2 else get(HOST)) as load:
        for _ in range(WAITING):
            load.shoot()
        await _queued(load, [activator])

        activator.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        yard.publish(cold=[await yard.pod("late")])
        assert await asyncio.to_thread(activator.process.wait, 20) == 0
        await load.stop()
        assert load.statuses() == {"200": WAITING}


async def test_AC_06_what_is_still_waiting_at_the_deadline_goes_to_the_other_activator_or_back_with_a_retryable_mark(
    yard,
):
    yard.publish(limit=5, cold=[])
    leaving = await yard.activator("--set", "activator.drain_timeout_s=0.3")
    staying = await yard.activator()
    gateway = await yard.gateway(leaving, staying)
    async with Load(gateway.port, lambda n: post(HOST) if n % 4 > 1 else get(HOST)) as load:
        for _ in range(WAITING):
            load.shoot()
        await _queued(load, [leaving, staying])

        leaving.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(leaving.process.wait, 20) == 0
        yard.publish(limit=5, cold=[await yard.pod("late", 0.01)])
        await load.stop()
        print(load.summary())
        back = load.failed
        # GETs have nothing that could not be sent again, so nobody sees that an activator went away.
        assert {shot.method for shot in back} <= {"POST"}
        for shot in back:
            assert not shot.error
            assert shot.status == 503
            assert b"x-dp-error: draining" in shot.head
            assert b"retry-after: 1" in shot.head
            assert b"x-dp-not-processed: true" in shot.head
        assert len(back) <= WAITING // 2
