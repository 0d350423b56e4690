"""AC-09: a limit of one request per pod holds at the pod, whoever sends and however slow."""

import asyncio

from tests.openloop import Load, get


async def test_AC_09_uneven_pods_never_work_on_two_requests_and_the_fast_one_is_not_kept_waiting(yard):
    slow, fast = await yard.pod("slow", 0.5), await yard.pod("fast", 0.01)
    yard.publish(limit=1, uneven=[slow, fast])
    activator = await yard.activator()
    gateways = [await yard.gateway(activator) for _ in range(2)]
    one, two = (Load(gateway.port, lambda n: get("uneven.default.localhost")) for gateway in gateways)
    async with one, two:
        one.start(rate_per_s=25)
        two.start(rate_per_s=25)
        await asyncio.sleep(3)
        for load in (one, two):
            await load.stop()
            assert load.statuses() == {"200": len(load.shots)}
    assert slow.running_max == 1
    assert fast.running_max == 1
    assert slow.served
    assert fast.served > 5 * slow.served


async def test_AC_09_a_revision_that_is_stuck_holds_up_no_other(yard):
    stuck, free = await yard.pod("stuck", 1.0), await yard.pod("free", 0.01)
    yard.publish(limit=1, stuck=[stuck], free=[free])
    activator = await yard.activator()
    gateway = await yard.gateway(activator)
    queue = Load(gateway.port, lambda n: get("stuck.default.localhost"))
    load = Load(gateway.port, lambda n: get("free.default.localhost"))
    async with queue, load:
        for _ in range(200):
            queue.shoot()
        load.start(rate_per_s=30)
        await asyncio.sleep(2)
        await load.stop()
        assert load.statuses() == {"200": len(load.shots)}
        # Had one of them stood behind the 200, it would have waited as long as those.
        assert len(queue.open) > 150
        assert stuck.running_max == 1
