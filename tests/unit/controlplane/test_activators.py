"""Which activators there are: told when it changes, patient with one that is lost."""

import asyncio

import pytest

from controlplane.activators import LOST_S, Activators
from dataplane.testing.clock import VirtualTimeLoop


def run(main):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("goodbye", [True, False])
def test_one_that_leaves_goes_at_once_one_that_is_lost_goes_later(goodbye):
    async def main():
        told = []
        activators = Activators(loop=asyncio.get_running_loop(), changed=told.append)
        activators.join("b")
        activators.join("a")
        assert told == [("b",), ("a", "b")]
        activators.leave("a", goodbye=goodbye)
        await asyncio.sleep(LOST_S - 1)
        assert told[-1] == (("b",) if goodbye else ("a", "b"))
        await asyncio.sleep(2)
        assert told[-1] == ("b",)
        activators.close()

    run(main)


def test_one_that_comes_back_in_time_was_never_away():
    async def main():
        told = []
        activators = Activators(loop=asyncio.get_running_loop(), changed=told.append)
        activators.join("a")
        activators.leave("a", goodbye=False)
        await asyncio.sleep(LOST_S - 1)
        activators.join("a")
        await asyncio.sleep(60)
        assert set(told) == {("a",)}
        activators.join("a")  # the new link before the end of the old one was noticed
        activators.leave("a", goodbye=False)
        await asyncio.sleep(60)
        assert set(told) == {("a",)}

    run(main)
