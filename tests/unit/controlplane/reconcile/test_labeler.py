"""Who is routed (spec/serving.md §4)."""

from msgspec.structs import replace

from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Configuration, Revision, Route, RouteSpec, Service, TrafficTarget

ROUTES = "serving.knative.dev/routes"
STATE = "serving.knative.dev/routingState"
MODIFIED = "serving.knative.dev/routingStateModified"


def two(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.now += 60
    world.settle()


def meta(world, name):
    return world.need(Revision, name).metadata


def test_the_revision_that_lost_its_traffic_becomes_reserve(world):
    two(world)
    old, new = meta(world, "hello-00001"), meta(world, "hello-00002")
    assert (old.labels[STATE], new.labels[STATE]) == ("reserve", "active")
    assert ROUTES not in old.annotations
    assert new.annotations[ROUTES] == "hello"


def test_it_stays_active_until_the_route_is_settled(world):
    world.deployed()
    world.hops_follow = False
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.settle()
    assert meta(world, "hello-00001").labels[STATE] == "active"
    world.hops_follow = True
    world.settle()
    assert meta(world, "hello-00001").labels[STATE] == "reserve"


def test_a_verdict_about_the_revision_before_takes_nobody_off(world):
    world.service()
    world.settle()
    world.pods_crash()
    world.settle()
    assert world.state(Route, "hello") == ("False", "RevisionMissing")
    world.retemplate()
    for controller, kind in (("service", Service), ("configuration", Configuration), ("labeler", Route)):
        world.look(controller, kind, "hello")
    assert world.state(Route, "hello") == ("False", "RevisionMissing")  # it has not looked yet
    assert meta(world, "hello-00001").labels[STATE] == "active"
    world.settle()
    assert world.state(Route, "hello") == ("Unknown", "RevisionMissing")
    assert meta(world, "hello-00001").labels[STATE] == "active"
    world.pods_crash()
    world.settle()
    assert meta(world, "hello-00001").labels[STATE] == "reserve"


def test_several_routes_are_listed_and_a_gone_one_is_taken_off(world):
    world.deployed()
    target = TrafficTarget(configuration_name="hello", percent=100, latest_revision=True)
    extra = Route(metadata=ObjectMeta(name="a-second", namespace="default"), spec=RouteSpec(traffic=(target,)))
    world.put(extra)
    world.settle()
    assert meta(world, "hello-00001").annotations[ROUTES] == "a-second,hello"
    assert world.need(Configuration, "hello").metadata.annotations[ROUTES] == "a-second,hello"
    world.delete(Route, "a-second")
    world.settle()
    assert meta(world, "hello-00001").annotations[ROUTES] == "hello"
    assert world.need(Configuration, "hello").metadata.annotations[ROUTES] == "hello"


def test_the_time_of_the_state_changes_only_when_the_state_does(world):
    two(world)
    before = meta(world, "hello-00002").annotations[MODIFIED]
    world.now += 60
    revision = world.need(Revision, "hello-00002")
    annotations = {k: v for k, v in revision.metadata.annotations.items() if k != ROUTES}
    world.put(replace(revision, metadata=replace(revision.metadata, annotations=annotations)))
    world.settle()
    after = meta(world, "hello-00002").annotations
    assert after[ROUTES] == "hello"
    assert after[MODIFIED] == before
