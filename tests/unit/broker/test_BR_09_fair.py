"""BR-09: what a trigger delivers while the subscriber of another one is cut off. In virtual time, counted in attempts.

The broker has one core, of which every attempt takes ATTEMPT_S, whoever's it is. So the throughput of the trigger whose
subscriber is well is what the other one leaves of the core: the same figure on every machine, and less when the other
one tries more often than its share, or keeps the loop. "As many as it takes": events are appended as fast as they are
delivered to it, AHEAD of that. "As many as it took": a steady rate, 95 % of what it takes beside one that is well.
"""

import asyncio
import functools
import random

import pytest

from broker.pace import DOWN_RATE_PER_S
from broker.store.contract import LogSettings, Record
from broker.store.memory import MemoryStore
from dataplane.errors import ConnectFailed, UpstreamReset, UpstreamTimeout
from tests.unit.broker.world import World, event, run, trigger

ATTEMPT_S = 0.0005
ALONE_PER_S = 1 / ATTEMPT_S
LOST = 0.2
LOST_COST = 5  # × an attempt: the connection goes, another one is dialled, the event is written down for later
TIMEOUT_S = 1.0
BEFORE_S, MEASURED_S = 3, 3
AHEAD = 1000  # more than fit into its window

draw = random.Random()


def well(asked):
    return (0.002, 204)


def slow(asked):
    return (1.0, 204)


def blackhole(asked):
    return (TIMEOUT_S, UpstreamTimeout("no answer"))


def rst(asked):
    return (0.0005, UpstreamReset("reset"))


def refused(asked):
    return (0.0005, ConnectFailed("connection refused"))


def a_fifth_lost(asked):
    return blackhole(asked) if draw.random() < LOST else well(asked)


def a_fifth_rst(asked):
    return rst(asked) if draw.random() < LOST else well(asked)


def failing(asked):
    return (0.0005, 500)


@functools.cache
def measure(script, *, per_s=0.0, others=1):
    """Deliveries per second of the one that is well, and attempts per second of the others together. per_s: 0 = as many
    as it takes."""
    found = []

    async def main():
        draw.seed(9)
        healthy = World(trigger(name="well", uid="well"), script=costs(well))
        cut_off = [
            World(
                trigger(name=f"t{n}", uid=f"t{n}", retry=1000, delay_s=0.2, backoff="exponential", timeout_s=TIMEOUT_S),
                script=costs(script),
            )
            for n in range(others)
        ]
        log = await MemoryStore(clock=healthy.clock).open("ns/br", LogSettings(quota_bytes=0))
        for world in (*cut_off, healthy):
            world.engine.random = draw.random
            await world.read(log)
        await produce(healthy, log, per_s, BEFORE_S)
        delivered = len(healthy.facts("delivered"))
        tried = sum(len(world.asked) for world in cut_off)
        await produce(healthy, log, per_s, MEASURED_S)
        found.append((len(healthy.facts("delivered")) - delivered) / MEASURED_S)
        found.append((sum(len(world.asked) for world in cut_off) - tried) / MEASURED_S)
        for world in (healthy, *cut_off):
            world.consumer.close()
        await log.close()

    run(main)
    return found


def costs(script):
    def spent(asked):
        said = script(asked)
        lost = isinstance(said[1], UpstreamReset)
        asyncio.get_running_loop().spend(ATTEMPT_S * (LOST_COST if lost else 1))
        return said

    return spent


async def produce(world, log, per_s, seconds):
    begun, sent = world.loop.time(), 0
    while (passed := world.loop.time() - begun) < seconds:
        lag = world.consumer.lag()
        count = int(passed * per_s) - sent if per_s else AHEAD - lag.waiting - lag.in_flight
        if count > 0:
            sent += count
            log.append(
                [Record(event=event(str(n)), arrived_at=world.clock.wall()) for n in range(count)], lambda fault: None
            )
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("script", [blackhole, rst, refused, a_fifth_lost, a_fifth_rst, slow, failing])
def test_a_subscriber_that_is_cut_off_leaves_another_one_as_many_as_it_took(script):
    normal, _ = measure(well)
    delivered, tried = measure(script, per_s=0.95 * normal)
    print(f"{script.__name__}: {delivered:.0f}/s beside {tried:.0f} attempts/s; normal {normal:.0f}/s")
    assert delivered >= 0.9 * normal


@pytest.mark.parametrize("others", [1, 10])
@pytest.mark.parametrize("script", [blackhole, rst, refused, a_fifth_lost, a_fifth_rst, slow, failing])
def test_it_does_not_take_more_than_its_share_of_all_that_there_is(script, others):
    normal, _ = measure(well, others=others)
    delivered, tried = measure(script, others=others)
    print(f"{script.__name__}: {delivered:.0f}/s beside {tried:.0f} attempts/s; normal {normal:.0f}/s")
    assert delivered >= 0.9 * normal
    if script in (blackhole, rst, refused):
        assert tried <= DOWN_RATE_PER_S * others, "it is asked now and then"


def test_two_that_are_well_share_alike():
    """What the others are compared with is all that there is."""
    delivered, tried = measure(well)
    assert delivered + tried == pytest.approx(ALONE_PER_S, rel=0.05)
    assert delivered == pytest.approx(tried, rel=0.05)
