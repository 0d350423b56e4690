"""Pods as many as wanted; who goes first (spec/serving.md §10.7, §15.8)."""

from msgspec.structs import replace

from controlplane.reconcile.replicas import BURST_MAX, PODS_MAX
from dataplane.resources.core import Pod
from dataplane.resources.serving import Revision

NAME = "hello-00001"


def scaled(world, want):
    world.deployed()
    world.decide(NAME, want)
    world.settle()
    world.pods_become_ready()
    world.settle()


def test_scale_out_makes_pods_and_scale_in_only_marks_them(world):
    scaled(world, 3)
    assert len(world.pods()) == 3
    world.decide(NAME, 1)
    world.settle()
    assert len(world.pods()) == 1
    leaving = world.pods(leaving=True)
    assert len(leaving) == 2
    assert {pod.metadata.deletion_grace_period_seconds for pod in leaving} == {300}
    world.settle()
    assert len(world.all(Pod)) == 3, "the kubelet drains and removes, not we"


def test_unready_pods_go_first_then_idle_ones_then_the_least_busy(world):
    scaled(world, 5)
    unready, idle, unknown, busy, busiest = world.pods()
    world.pod_becomes(unready, ready=False)
    world.flights.update({idle.metadata.uid: 0, busy.metadata.uid: 5, busiest.metadata.uid: 9})
    gone = []
    for want in (4, 3, 2, 1):
        world.decide(NAME, want)
        world.settle()
        (name,) = {p.metadata.name for p in world.pods(leaving=True)} - set(gone)
        gone.append(name)
    assert gone == [p.metadata.name for p in (unready, idle, unknown, busy)]


def test_among_equals_the_youngest_goes(world):
    scaled(world, 1)
    (old,) = world.pods()
    world.now += 10
    world.decide(NAME, 2)
    world.settle()
    world.pods_become_ready()
    world.flights.update({pod.metadata.uid: 0 for pod in world.pods()})
    world.decide(NAME, 1)
    world.settle()
    assert [pod.metadata.name for pod in world.pods()] == [old.metadata.name]


def test_a_pod_that_is_over_is_replaced_but_not_in_a_tight_loop(world):
    scaled(world, 1)
    (pod,) = world.pods()
    world.pod_becomes(pod, phase="Failed")
    outcome = world.look("replicas", Revision, NAME)
    assert outcome.requeue_after_s == 2.0
    assert outcome.writes == ()
    world.now += 2
    world.settle()
    (fresh,) = world.pods()
    assert fresh.metadata.name != pod.metadata.name


def test_a_flood_is_made_in_bursts_and_never_beyond_what_a_machine_can_hold(world):
    world.deployed()
    world.decide(NAME, 10**9)
    outcome = world.look("replicas", Revision, NAME)
    assert len(outcome.writes) == BURST_MAX
    assert outcome.requeue_after_s == 0.0
    world.settle()
    assert len(world.pods()) == PODS_MAX


def test_a_leaving_pod_does_not_count(world):
    scaled(world, 1)
    (pod,) = world.pods()
    world.put(replace(pod, metadata=replace(pod.metadata, deletion_timestamp="2026-01-01T00:00:00Z")))
    world.settle()
    assert len(world.pods()) == 1
    assert world.pods()[0].metadata.name != pod.metadata.name
