"""Why there are N pods."""

import msgspec

from controlplane.explain import explained, text
from dataplane.resources.serving import Service


class Account(msgspec.Struct, frozen=True, kw_only=True):
    because: tuple[str, ...]


def why(world, account=lambda revision: None):
    found = explained("default", "hello", world.view, account)
    assert found is not None
    return found


def test_nobody_is_explained_who_is_not_there(world):
    assert explained("default", "nobody", world.view, lambda revision: None) is None


def test_a_new_revision_starts_with_its_initial_scale(world):
    world.service()
    world.settle()
    (revision,) = why(world).revisions
    assert (revision.name, revision.wanted, revision.found) == ("hello-00001", 1, {"starting": 1})
    assert revision.because == ("no decision yet: a new revision starts with 1",)


def test_inputs_limits_and_decision_are_named(world):
    world.deployed()
    world.decide(
        "hello-00001",
        3,
        desired=7,
        active="True",
        stable_average=21.5,
        panic_average=30.0,
        limits=("max-scale 3",),
        panicking=True,
    )
    world.settle()
    (revision,) = why(world).revisions
    assert (revision.percent, revision.wanted, revision.found) == (100, 3, {"ready": 1, "starting": 2})
    assert revision.because == (
        "21.5 over 60 s, 30 over 6 s, target 70 concurrency per pod: 7 asked for",
        "limited by max-scale 3",
        "panic mode: nothing is taken away until a stable window has passed",
    )


def test_the_autoscalers_own_account_comes_first(world):
    world.deployed()
    (revision,) = why(world, lambda key: Account(because=(f"as I said of {key}",))).revisions
    assert revision.because == ("as I said of default/hello-00001",)
    assert revision.autoscaler == {"because": ("as I said of default/hello-00001",)}


def test_pods_are_told_apart(world):
    world.deployed()
    world.decide("hello-00001", 4)
    world.settle()
    first, *_ = world.pods()
    world.pods_crash()
    world.pod_becomes(first, ready=True)
    world.flights[first.metadata.uid] = 2
    world.decide("hello-00001", 3)
    world.settle()
    (revision,) = why(world).revisions
    assert sum(revision.found.values()) == 4
    assert revision.found["ready"] == 1
    assert revision.found["draining"] == 1
    assert [pod.in_flight for pod in revision.pods if pod.name == first.metadata.name] == [2]


def test_an_unrouted_revision_says_so(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.settle()
    new, old = why(world).revisions
    assert (new.name, old.name) == ("hello-00002", "hello-00001")
    assert old.because[-1] == "no traffic is routed to it: min-scale and initial-scale do not hold it up"


def test_the_text_is_for_people_and_the_struct_for_programs(world):
    world.service()
    world.settle()
    world.pods_wait("ContainerMissing", "write a command or an images file")
    world.settle()
    found = why(world)
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found
    lines = text(found).splitlines()
    assert lines[0] == f"default/hello  {world.need(Service, 'hello').status.url}"
    assert lines[1].startswith("Ready False (RevisionMissing: ")
    assert lines[3].startswith("hello-00001  0%  wanted 1, found 1 failing")
    assert lines[-1].endswith("failing (ContainerMissing: write a command or an images file)")
