"""A poke that nobody hears: the activator and the autoscaler meet in virtual time, and the first words get lost."""

import asyncio

import pytest

from activator.report import PERIOD_S
from autoscaler.decide import Autoscaler
from dataplane.resources.scaling import Autoscaling
from dataplane.resources.snapshot import Change, Revision, Snapshot
from dataplane.runtime.config import load
from dataplane.telemetry.metrics import Registry
from dataplane.testing.clock import VirtualTimeLoop
from launch.datapath import Holding
from launch.settings import SECTIONS

KEY = "default/hello-00001"


class Waiter:
    def granted(self, slot):
        raise AssertionError("there is no pod")

    def refused(self, error):
        raise error


class Machine:
    """One revision at zero. The first `lost` reports of the activator go nowhere; `wanted`: (time, pods)."""

    def __init__(self, lost: int) -> None:
        loop = asyncio.get_running_loop()
        self.lost, self.wanted, self.heard, self.registry = lost, [], [], Registry()
        self.began = loop.time()
        self.autoscaler = Autoscaler(
            loop=loop,
            clock=loop.clock(),
            registry=self.registry,
            actuate=lambda made: self.wanted.extend((loop.time() - self.began, d.want) for d in made if d.want > 0),
        )
        self.holding = Holding(settings=load(SECTIONS), registry=self.registry, send=self.send, reporter="gateway")
        spec = Autoscaling(initialized=True, initial_scale=0)
        revisions = {KEY: Revision(namespace="default", name="hello-00001", autoscaling=spec)}
        snapshot, change = (
            Snapshot(generation=1, revisions=revisions),
            Change(generation=1, base=-1, revisions=revisions),
        )
        self.holding.activator.apply(snapshot, change)
        self.autoscaler.apply(snapshot, change)

    def send(self, stats) -> None:
        self.heard.append(stats)
        if len(self.heard) > self.lost:
            self.autoscaler.record(stats)

    def request(self) -> None:
        deadline = asyncio.get_running_loop().time() + 60.0
        assert self.holding.activator.take(KEY) is None
        self.holding.activator.wait(KEY, Waiter(), deadline=deadline, size_bytes=100)

    async def close(self) -> None:
        self.autoscaler.close()
        await self.holding.engine.close()


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_after_a_lost_poke_the_next_report_that_arrives_acts(lost):
    async def main():
        machine = Machine(lost)
        machine.request()
        assert [stat.poke for stat in machine.heard[0]] == [True]
        await asyncio.sleep(lost * PERIOD_S + 0.5)
        [(at, want)] = machine.wanted
        assert want == 1
        assert lost * PERIOD_S <= at < lost * PERIOD_S + 0.2, (
            "at once when it is heard, not at a tick of the autoscaler"
        )
        await machine.close()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
