"""The publisher: shared parts, whole generations, Ready only when everybody has it."""

import asyncio

import pytest
from msgspec.structs import replace

from controlplane import compile as compiled
from controlplane.publish import HISTORY_MAX, LAG_S, TURN_S, Publisher, merged
from controlplane.reconcile.naming import ROUTES
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import PodAutoscaler, Revision, Route, RouteStatus, Service, TrafficTarget
from dataplane.resources.snapshot import Change, Endpoint, Snapshot, changed
from dataplane.telemetry.metrics import Registry
from dataplane.testing.clock import VirtualTimeLoop

START = 1_000


@pytest.fixture
def event_loop_policy_loop():
    loop = VirtualTimeLoop()
    yield loop
    loop.close()


class Published:
    """A publisher over a world, its settled Routes, and what a hop of the process has."""

    def __init__(self, world, loop):
        self.world, self.loop = world, loop
        self.settled = []
        self.registry = Registry()
        self.publisher = Publisher(
            store=world.store,
            config=lambda: world.config,
            loop=loop,
            generation=START,
            settled=self.settled.append,
            registry=self.registry,
        )
        self.publisher.open()
        self.snapshot = Snapshot()
        self.changes = []

    def apply(self, snapshot, change):
        self.changes.append(change)
        self.snapshot = changed(self.snapshot, change)
        assert self.snapshot == snapshot

    def turn(self):
        """One turn of the event loop."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def wait(self, seconds):
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture
def published(world, event_loop_policy_loop):
    found = Published(world, event_loop_policy_loop)
    yield found
    found.publisher.close()


def many(world, routes, revisions):
    for n in range(revisions):
        world.put(Revision(metadata=ObjectMeta(name=f"rev-{n}", namespace="default")))
    for n in range(routes):
        target = TrafficTarget(revision_name=f"rev-{n % revisions}", percent=100)
        world.put(
            Route(metadata=ObjectMeta(name=f"route-{n}", namespace="default"), status=RouteStatus(traffic=(target,)))
        )


def test_what_is_stored_is_published_at_once(world, event_loop_policy_loop):
    many(world, 3, 2)
    found = Published(world, event_loop_policy_loop)
    snapshot = found.publisher.snapshot
    assert sorted(snapshot.routes) == ["default/route-0", "default/route-1", "default/route-2"]
    assert sorted(snapshot.revisions) == ["default/rev-0", "default/rev-1"]
    assert snapshot.generation == START + 1
    found.publisher.close()


def test_one_change_makes_one_new_value_and_shares_the_rest(world, published):
    many(world, 50, 10)
    published.turn()
    before = published.publisher.snapshot
    published.publisher.endpoints("default/rev-3", (Endpoint(id="p", address="127.0.0.1:1"),))
    published.turn()
    after = published.publisher.snapshot
    assert after.generation == before.generation + 1
    assert after.routes is before.routes
    different = [key for key in after.revisions if after.revisions[key] is not before.revisions[key]]
    assert different == ["default/rev-3"]
    assert after.revisions["default/rev-3"].endpoints[0].id == "p"


def test_changes_of_one_turn_are_one_generation(world, published):
    published.publisher.subscribe(published.apply)
    many(world, 20, 5)
    assert published.publisher.snapshot.generation == START
    published.turn()
    assert published.publisher.snapshot.generation == START + 1
    assert len(published.changes) == 2  # the subscription's full one, and this
    assert set(published.changes[1].routes) == {f"default/route-{n}" for n in range(20)}


@pytest.fixture
def slow(monkeypatch, event_loop_policy_loop):
    """Compiling takes a quarter of a turn's time."""

    def spending(function):
        def compile_(*args):
            event_loop_policy_loop.spend(TURN_S / 4)
            return function(*args)

        return compile_

    for name in ("route", "revision"):
        monkeypatch.setattr(compiled, name, spending(getattr(compiled, name)))


def test_many_changes_are_published_in_slices_revisions_before_who_names_them(world, published, slow):
    published.publisher.subscribe(published.apply)
    many(world, 40, 10)
    while len(published.snapshot.routes) < 40:
        published.turn()
        for route in published.snapshot.routes.values():
            assert all(s.revision in published.snapshot.revisions for s in route.rules[0].paths[0].splits)
    assert len(published.changes) > 10
    assert max(len(change.routes) + len(change.revisions) for change in published.changes) <= 5
    assert sorted(published.settled) == sorted(published.snapshot.routes)


def test_a_gone_revision_stays_until_the_routes_that_named_it_have_moved(world, published, slow):
    many(world, 40, 2)
    published.publisher.flush()
    published.publisher.subscribe(published.apply)
    for route in world.all(Route):
        target = TrafficTarget(revision_name="rev-1", percent=100)
        world.put(replace(route, status=RouteStatus(traffic=(target,))))
    world.delete(Revision, "rev-0")
    while "default/rev-0" in published.snapshot.revisions:
        published.turn()
        named = {r.rules[0].paths[0].splits[0].revision for r in published.snapshot.routes.values()}
        assert named <= published.snapshot.revisions.keys()
    assert len(published.changes) > 5


def test_what_does_not_concern_hops_is_no_generation(world, published):
    world.deployed()
    published.turn()
    before = published.publisher.snapshot
    revision = world.need(Revision, "hello-00001")
    world.put(replace(revision, metadata=replace(revision.metadata, annotations={ROUTES: "hello", "x": "y"})))
    published.turn()
    assert published.publisher.snapshot is before


def test_a_subscriber_gets_everything_first_and_then_differences(world, published):
    world.deployed()
    published.turn()
    published.publisher.subscribe(published.apply)
    assert published.changes[0].base == -1
    world.decide("hello-00001", 0, active="False")
    world.settle()
    world.delete(Service, "hello")
    world.settle()
    published.turn()
    assert published.changes[-1].routes == {"default/hello": None}
    assert published.changes[-1].revisions == {"default/hello-00001": None}
    assert published.snapshot.routes == {}


def test_GW_34_every_generation_has_whole_splits(world, published):
    seen = []
    published.publisher.subscribe(
        lambda snapshot, _: seen.extend(
            sum(split.percent for split in path.splits)
            for route in snapshot.routes.values()
            for rule in route.rules
            for path in rule.paths
        )
    )
    world.deployed()
    for percent in (90, 50, 10):
        world.retemplate()
        world.settle()
        world.pods_become_ready()
        world.settle()
        world.retraffic(
            {"revisionName": "hello-00001", "percent": percent}, {"latestRevision": True, "percent": 100 - percent}
        )
        world.settle()
        published.turn()
    assert seen
    assert set(seen) == {100}


def test_GW_33_a_configuration_that_cannot_be_compiled_keeps_the_last_good_route(world, published):
    world.deployed()
    published.turn()
    before = published.publisher.snapshot.routes["default/hello"]
    good = world.config
    world.config = replace(good, network=replace(good.network, domain_template="{{.Name}}_x.{{.Domain}}"))
    published.publisher.reconfigured()
    published.turn()
    assert published.publisher.snapshot.routes["default/hello"] is before
    world.config = replace(good, network=replace(good.network, domain_template="{{.Name}}-x.{{.Domain}}"))
    published.publisher.reconfigured()
    published.turn()
    assert published.publisher.snapshot.routes["default/hello"].rules[1].hosts == ("hello-x.localhost",)


def test_endpoints_of_a_revision_that_is_gone_are_not_published(world, published):
    published.publisher.endpoints("default/gone", (Endpoint(id="p", address="127.0.0.1:1"),))
    published.turn()
    assert published.publisher.snapshot.generation == START


def test_initialized_reaches_the_autoscaler(world, published):
    world.service()
    world.settle()
    published.turn()
    assert not published.publisher.snapshot.revisions["default/hello-00001"].autoscaling.initialized
    world.pods_become_ready()
    world.settle()
    published.turn()
    assert published.publisher.snapshot.revisions["default/hello-00001"].autoscaling.initialized
    assert world.get(PodAutoscaler, "hello-00001") is not None


# followers


def follow(published, generation=-1):
    woken = []
    follower = published.publisher.join(lambda: woken.append(1), generation=generation)
    return follower, woken


def test_without_followers_a_route_is_settled_when_subscribers_have_it(world, published):
    world.deployed()
    published.turn()
    assert published.settled == ["default/hello"]
    assert published.publisher.programmed("default/hello").settled
    assert published.publisher.programmed("default/nobody") is None


def test_a_follower_that_counts_holds_ready_until_it_has_applied(world, published):
    follower, woken = follow(published)
    assert follower.take().base == -1
    published.publisher.applied(follower, START)
    world.deployed()
    published.turn()
    assert woken
    assert published.settled == []
    assert not published.publisher.programmed("default/hello").settled
    published.publisher.applied(follower, published.publisher.snapshot.generation)
    assert published.settled == ["default/hello"]
    assert published.publisher.programmed("default/hello").settled


def test_a_follower_that_has_only_connected_holds_nothing_up(world, published):
    follow(published)
    world.deployed()
    published.turn()
    assert published.settled == ["default/hello"]


def test_a_lagging_follower_is_waited_for_a_bounded_time_and_counted(world, published):
    follower, _ = follow(published)
    published.publisher.applied(follower, START)
    world.deployed()
    published.turn()
    published.wait(LAG_S + 0.1)
    assert published.settled == ["default/hello"]
    assert "dataplane_snapshot_followers_lagging_total 1" in published.registry.render()
    published.publisher.applied(follower, published.publisher.snapshot.generation)
    world.retraffic({"revisionName": "hello-00001", "percent": 100, "tag": "t"})
    world.settle()
    published.turn()
    assert published.settled == ["default/hello"], "it has caught up: it counts again"


def test_a_follower_that_leaves_is_not_waited_for(world, published):
    follower, _ = follow(published)
    published.publisher.applied(follower, START)
    world.deployed()
    published.turn()
    published.publisher.leave(follower)
    assert published.settled == ["default/hello"]


def test_a_slow_follower_gets_one_difference_not_a_queue(world, published):
    many(world, 5, 2)
    published.turn()
    follower, _ = follow(published)
    have = changed(Snapshot(), follower.take())
    for n in range(500):
        endpoints = (Endpoint(id=f"p{n}", address="127.0.0.1:1"),) if n % 3 else ()
        published.publisher.endpoints(f"default/rev-{n % 2}", endpoints)
        published.publisher.flush()
    world.delete(Route, "route-1")
    published.turn()
    difference = follower.take()
    assert follower.take() is None
    assert set(difference.revisions) == {"default/rev-0", "default/rev-1"}
    assert changed(have, difference) == published.publisher.snapshot


@pytest.mark.parametrize("missed", [0, 1, 10, HISTORY_MAX + 5])
def test_a_follower_that_comes_back_gets_the_difference_when_it_is_known(world, published, missed):
    many(world, 5, 2)
    published.turn()
    have = published.publisher.snapshot
    for n in range(missed):
        published.publisher.endpoints("default/rev-0", (Endpoint(id=f"p{n}", address="127.0.0.1:1"),))
        published.publisher.flush()
    follower, _ = follow(published, have.generation)
    change = follower.take()
    assert change.base == (-1 if missed > HISTORY_MAX else have.generation)
    assert changed(have, change) == published.publisher.snapshot


def test_an_unknown_generation_gets_everything(world, published):
    many(world, 2, 2)
    published.turn()
    follower, _ = follow(published, 7)
    assert follower.take().base == -1


def test_merging_onto_a_full_change_removes_instead_of_saying_none(world, published):
    many(world, 1, 1)
    published.turn()
    follower, _ = follow(published)
    world.delete(Route, "route-0")
    published.turn()
    change = follower.take()
    assert change.base == -1
    assert change.routes == {}


def test_changes_merge_only_in_sequence():
    with pytest.raises(AssertionError):
        merged(Change(generation=2, base=1), Change(generation=4, base=3))
