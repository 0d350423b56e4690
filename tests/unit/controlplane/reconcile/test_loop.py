"""The control loop: one queue, back-off per object, no timer when idle."""

import asyncio
import random

import pytest
from msgspec.structs import replace

from controlplane.reconcile import loop as module
from controlplane.reconcile.loop import BACKOFF_S, COMMITS_PER_TURN, TURN_S, ControlLoop
from controlplane.store.contract import Key, Put, StoreFailed
from controlplane.store.memory import MemoryStore
from dataplane.clock import Clock
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Configuration, Revision, Route, Service
from dataplane.testing.clock import VirtualTimeLoop


class Fickle(MemoryStore):
    """A disk that fails when told, and takes its time."""

    failing = 0
    slow_s = 0.0
    underway = 0
    most = 0

    async def commit(self, writes):
        Fickle.underway += 1
        Fickle.most = max(Fickle.most, Fickle.underway)
        try:
            if self.slow_s:
                await asyncio.sleep(self.slow_s)
            if self.failing:
                self.failing -= 1
                raise StoreFailed("disk full")
            return await super().commit(writes)
        finally:
            Fickle.underway -= 1


@pytest.fixture
def run(world):
    """Run a coroutine function with an open ControlLoop over the world, in virtual time."""

    def runner(body, *, store=None):
        async def main():
            loop = asyncio.get_running_loop()
            base = world.now
            clock = Clock(monotonic=loop.time, wall=lambda: base + loop.time())
            control = ControlLoop(
                store=store or world.store, view=world.view, loop=loop, clock=clock, source=random.Random(2)
            )
            control.open()
            try:
                await body(control)
            finally:
                await control.close()
            assert len(asyncio.all_tasks()) == 1

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as one:
            one.run(main())

    return runner


def test_a_service_comes_up_by_itself(world, run):
    async def body(control):
        world.service()
        await control.quiet()
        world.pods_become_ready()
        await control.quiet()
        assert world.state(Service, "hello") == ("True", "")
        assert world.need(Revision, "hello-00001").metadata.uid

    run(body)


def test_everything_stored_is_looked_at_when_it_opens(world, run):
    world.service()

    async def body(control):
        await control.quiet()
        assert world.get(Route, "hello") is not None

    run(body)


def test_idle_means_no_timer(world, run):
    async def body(control):
        world.service()
        await control.quiet()
        world.pods_become_ready()
        await control.quiet()
        loop = asyncio.get_running_loop()
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []

    run(body)


def test_the_progress_deadline_is_a_timer_while_somebody_waits(world, run):
    async def body(control):
        world.service()
        await control.quiet()
        assert world.state(Revision, "hello-00001")[0] == "Unknown"
        await asyncio.sleep(601)
        await control.quiet()
        assert world.state(Revision, "hello-00001") == ("False", "ProgressDeadlineExceeded")

    run(body)


def test_a_decision_makes_pods(world, run):
    async def body(control):
        world.service()
        await control.quiet()
        world.pods_become_ready()
        await control.quiet()
        world.decide("hello-00001", 3)
        control.scaled("default/hello-00001")
        await control.quiet()
        assert len(world.pods()) == 3

    run(body)


def test_CP_03_a_lost_race_is_looked_at_again(world, run):
    async def body(control):
        world.service()
        await control.quiet()
        revision = world.need(Revision, "hello-00001")
        stale = revision.metadata.resource_version
        world.pods_become_ready()  # reconcilers will write the revision …
        labels = {**revision.metadata.labels, "mine": "1"}
        await world.store.commit(  # … and somebody else is first
            [
                Put(
                    Key("serving.knative.dev", "Revision", "default", "hello-00001"),
                    replace(revision, metadata=replace(revision.metadata, labels=labels)),
                    stale,
                )
            ]
        )
        await control.quiet()
        await asyncio.sleep(1)
        revision = world.need(Revision, "hello-00001")
        assert revision.metadata.labels["mine"] == "1"
        assert world.state(Service, "hello") == ("True", "")

    run(body)


@pytest.fixture
def fickle(world):
    world.store = Fickle()
    world.view = type(world.view)(world.store, world.view.facts)
    return world.store


def test_a_failed_disk_is_tried_again_later_and_later(world, run, fickle):
    async def body(control):
        world.service()
        fickle.failing = 5
        await asyncio.sleep(BACKOFF_S * 2**3)
        assert world.get(Configuration, "hello") is None
        await asyncio.sleep(1)
        assert world.get(Configuration, "hello") is not None

    run(body, store=fickle)


def test_commits_overlap_and_the_same_object_never_does(world, run, fickle):
    async def body(control):
        for n in range(200):
            world.service(f"s{n}")
        fickle.slow_s, Fickle.most = 0.01, 0
        await control.quiet()
        assert 1 < Fickle.most <= 64
        assert len(world.all(Configuration)) == 200
        assert len(world.all(Revision)) == 200

    run(body, store=fickle)


async def most_per_turn(control, counted):
    """The most that `counted` grew in one turn of the event loop, until all is quiet."""
    task, most, before = asyncio.ensure_future(control.quiet()), 0, counted()
    while not task.done():
        await asyncio.sleep(0)
        now = counted()
        most, before = max(most, now - before), now
    return most


def test_a_look_at_everything_lets_requests_run_in_between(world, run, monkeypatch):
    look_s, looked = TURN_S / 4, []

    def slow(controller):
        def reconcile(key, view, now):
            looked.append((controller.name, key))
            asyncio.get_running_loop().spend(look_s)
            return controller.reconcile(key, view, now)

        return controller._replace(reconcile=reconcile)

    monkeypatch.setattr(module, "CONTROLLERS", tuple(map(slow, module.CONTROLLERS)))
    for n in range(50):
        world.service(f"s{n}")
    world.settle()

    async def body(control):
        assert await most_per_turn(control, lambda: len(looked)) <= 5  # those of 2 ms, and one for rounding
        everything = set(looked)
        assert {key for _, key in everything} == set(world.view.all_keys())
        looked.clear()
        control.resync()
        await asyncio.sleep(0)
        control.resync()  # while it is under way: once more, whole
        control.resync()
        await control.quiet()
        assert all(looked.count(one) == 2 for one in everything)

    run(body)


def test_a_change_is_looked_at_before_the_rest_of_everything(world, run, monkeypatch):
    looked = []

    def seen(controller):
        def reconcile(key, view, now):
            looked.append(key.name)
            asyncio.get_running_loop().spend(TURN_S)
            return controller.reconcile(key, view, now)

        return controller._replace(reconcile=reconcile)

    monkeypatch.setattr(module, "CONTROLLERS", tuple(map(seen, module.CONTROLLERS)))
    for n in range(50):
        world.service(f"s{n}")
    world.settle()

    async def body(control):
        await control.quiet()
        looked.clear()
        control.resync()
        await asyncio.sleep(0)
        control.settled("default/s49")
        await control.quiet()
        assert "s49" in looked[:3]

    run(body)


def test_one_turn_starts_only_so_many_commits(world, run):
    async def body(control):
        for n in range(200):
            world.service(f"s{n}")
        assert await most_per_turn(control, lambda: len(world.all(Configuration))) <= COMMITS_PER_TURN

    run(body)


def test_a_bug_about_one_object_does_not_stop_the_others(world, run, monkeypatch, caplog):
    from controlplane.reconcile import labeler

    def broken(key, view, now):
        raise RuntimeError("bug") if key.name == "poison" else AssertionError

    real = labeler.reconcile
    patched = tuple(
        one._replace(
            reconcile=lambda key, view, now: broken(key, view, now) if key.name == "poison" else real(key, view, now)
        )
        if one.name == "labeler"
        else one
        for one in module.CONTROLLERS
    )
    monkeypatch.setattr(module, "CONTROLLERS", patched)

    async def body(control):
        world.service("poison")
        world.service("fine")
        await asyncio.sleep(0.1)
        world.pods_become_ready()
        await asyncio.sleep(0.1)
        assert world.state(Service, "fine") == ("True", "")

    run(body)
    assert "reconcile_failed controller=labeler name=default/poison" in caplog.text


def test_events_are_recorded_once_and_counted(world, run):
    async def body(control):
        world.service()
        await control.quiet()
        events = {(e.involved_object.kind, e.reason): e for e in world.all(core.Event)}
        created = events["Configuration", "Created"]
        assert created.message == 'Created Revision "hello-00001"'
        assert (created.count, created.type) == (1, "Normal")
        assert created.involved_object.uid == world.need(Configuration, "hello").metadata.uid
        world.delete(Revision, "hello-00001")
        await control.quiet()
        again = world.get(core.Event, created.metadata.name)
        assert again.count == 2

    run(body)


def test_CP_08_what_a_crash_left_behind_goes_at_start(world, run):
    world.deployed()
    world.delete(Service, "hello")  # and nobody is there to see it

    async def body(control):
        await control.quiet()
        assert world.all(Configuration) == world.all(Route) == world.all(Revision) == []
        assert world.pods() == []

    run(body)


def test_the_event_log_is_bounded(world, run, monkeypatch):
    from controlplane.reconcile import events

    monkeypatch.setattr(events, "EVENTS_MAX", 5)

    async def body(control):
        for n in range(6):
            world.service(f"s{n}")
        await control.quiet()
        world.service("last")
        await control.quiet()
        assert len(world.all(core.Event)) <= 5 + 2  # a Service notes two things at once

    run(body)


def test_a_configmap_owner_is_swept_like_any_other(world, run):
    from dataplane.resources.meta import OwnerReference

    ref = OwnerReference(api_version="v1", kind="ConfigMap", name="gone", uid="gone", controller=True)
    world.put(core.ConfigMap(metadata=ObjectMeta(name="left", namespace="default", owner_references=(ref,))))

    async def body(control):
        await control.quiet()
        assert world.get(core.ConfigMap, "left") is None

    run(body)
