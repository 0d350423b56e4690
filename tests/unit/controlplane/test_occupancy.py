"""What runs on a pod, over all hops: a guess for scale-in, certainty for a drain."""

import pytest

from controlplane.occupancy import ASKED_MAX, LOST_S, Occupancy
from dataplane.resources.snapshot import Running, Snapshot


class Publisher:
    def __init__(self) -> None:
        self.snapshot = Snapshot(generation=10)
        self.is_current = True


class World:
    def __init__(self) -> None:
        self.now, self.here, self.publisher = 0.0, {}, Publisher()
        self.occupancy = Occupancy(local=self.here.get, publisher=self.publisher, clock=lambda: self.now)

    def hop(self, generation: int | None = None, **pods: int):
        hop = self.occupancy.join()
        if generation is not None:
            self.occupancy.said(hop, Running(generation=generation, pods=pods))
        return hop


@pytest.fixture
def world() -> World:
    return World()


def test_without_other_hops_this_process_knows(world):
    assert world.occupancy.running("a") == 0
    assert world.occupancy.remaining("a") == 0
    world.here["a"] = 2
    assert world.occupancy.running("a") == 2
    assert world.occupancy.remaining("a") == 2


def test_counts_of_all_hops_add_up(world):
    world.here["a"] = 1
    world.hop(10, a=2, b=1)
    world.hop(10, a=4)
    assert world.occupancy.running("a") == 7
    assert world.occupancy.remaining("a") == 7
    assert world.occupancy.running("b") == 1
    assert world.occupancy.running("c") == 0


def test_a_hop_that_has_said_nothing_makes_it_unknown(world):
    hop = world.hop()
    assert world.occupancy.running("a") is None
    assert world.occupancy.remaining("a") is None
    world.occupancy.said(hop, Running(generation=10))
    assert world.occupancy.running("a") == 0
    assert world.occupancy.remaining("a") == 0


def test_a_pod_is_not_idle_before_every_hop_has_the_generation_that_lets_go_of_it(world):
    old = world.hop(9)
    world.hop(10)
    assert world.occupancy.running("a") == 0  # the best guess
    assert world.occupancy.remaining("a") is None  # but it may be sent more
    world.publisher.snapshot = Snapshot(generation=12)  # what comes later is not waited for
    world.occupancy.said(old, Running(generation=10))
    assert world.occupancy.remaining("a") == 0


def test_a_pod_is_not_idle_before_its_draining_is_published(world):
    world.publisher.is_current = False
    assert world.occupancy.remaining("a") is None
    world.hop(10)
    world.publisher.is_current, world.publisher.snapshot = True, Snapshot(generation=11)
    assert world.occupancy.remaining("a") is None
    world.hop(11)


def test_what_was_cut_off_a_report_is_unknown(world):
    hop = world.hop()
    world.occupancy.said(hop, Running(generation=10, pods={"a": 1}, cut=True))
    assert world.occupancy.remaining("a") == 1
    assert world.occupancy.remaining("b") is None


def test_a_lost_hop_keeps_its_requests_for_a_while(world):
    hop = world.hop(10, a=3)
    world.occupancy.leave(hop)
    assert world.occupancy.running("a") == world.occupancy.remaining("a") == 3
    world.now = LOST_S + 0.1
    assert world.occupancy.running("a") == world.occupancy.remaining("a") == 0


def test_what_is_remembered_about_drains_is_bounded(world):
    world.hop(9)
    for number in range(ASKED_MAX + 100):
        world.occupancy.remaining(f"pod-{number}")
    assert len(world.occupancy._since) == ASKED_MAX
