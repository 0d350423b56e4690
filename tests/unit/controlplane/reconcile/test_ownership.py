"""CP-08: delete with finalizers and owners; orphan sweep."""

from msgspec.structs import replace

from controlplane.reconcile.ownership import orphans
from dataplane.resources.core import Pod
from dataplane.resources.meta import ObjectMeta, OwnerReference
from dataplane.resources.serving import Configuration, PodAutoscaler, Revision, Route, Service


def test_CP_08_deleting_a_service_deletes_everything_below_it_and_drains_its_pods(world):
    world.deployed()
    world.delete(Service, "hello")
    world.settle()
    for kind in (Configuration, Route, Revision, PodAutoscaler):
        assert world.all(kind) == []
    (pod,) = world.all(Pod)
    assert pod.metadata.deletion_timestamp
    world.drained()
    world.settle()
    assert world.all(Pod) == []


def test_CP_08_a_dependent_with_a_finalizer_waits_for_whoever_put_it_there(world):
    world.deployed()
    revision = world.need(Revision, "hello-00001")
    world.put(replace(revision, metadata=replace(revision.metadata, finalizers=("example.dev/keep",))))
    world.delete(Service, "hello")
    world.settle()
    revision = world.need(Revision, "hello-00001")
    assert revision.metadata.deletion_timestamp
    assert world.all(Configuration) == []
    assert world.get(PodAutoscaler, "hello-00001") is not None, "what it owns stays as long as it is there"
    world.delete(Revision, "hello-00001")
    world.settle()
    assert world.all(PodAutoscaler) == []


def test_CP_08_with_two_owners_the_last_one_counts(world):
    world.deployed()
    world.deployed("other")
    service = world.need(Service, "other")
    route = world.need(Route, "hello")
    second = OwnerReference(
        api_version="serving.knative.dev/v1", kind="Service", name="other", uid=service.metadata.uid
    )
    refs = (*route.metadata.owner_references, second)
    world.put(replace(route, metadata=replace(route.metadata, owner_references=refs)))
    world.delete(Service, "hello")
    world.look("ownership", Route, "hello")
    assert world.get(Route, "hello") is not None
    world.delete(Service, "other")
    world.look("ownership", Route, "hello")
    assert world.get(Route, "hello") is None


def test_CP_08_foreground_deletes_dependents_first(world):
    world.deployed()
    service = world.need(Service, "hello")
    going = replace(
        service.metadata, deletion_timestamp="2026-01-01T00:00:00Z", finalizers=("foregroundDeletion", "example.dev/x")
    )
    world.put(replace(service, metadata=going))
    world.settle()
    assert world.all(Configuration) == [world.need(Configuration, "hello")], "its pods are still draining"
    world.drained()
    world.settle()
    assert world.all(Configuration) == []
    assert world.need(Service, "hello").metadata.finalizers == ("example.dev/x",)


def test_CP_08_the_sweep_finds_what_a_crash_left_behind(world):
    ref = OwnerReference(api_version="serving.knative.dev/v1", kind="Service", name="gone", uid="gone", controller=True)
    world.put(Configuration(metadata=ObjectMeta(name="left", namespace="default", owner_references=(ref,))))
    assert [key.name for key in orphans(world.view)] == ["left"]
    world.settle()
    assert world.all(Configuration) == []


def test_an_object_without_owner_is_nobodys_orphan(world):
    world.put(Configuration(metadata=ObjectMeta(name="free", namespace="default")))
    world.settle()
    assert world.get(Configuration, "free") is not None


def test_a_same_named_owner_of_another_life_does_not_count(world):
    world.deployed()
    world.delete(Service, "hello")
    world.service()
    world.settle()
    assert (
        world.need(Configuration, "hello").metadata.owner_references[0].uid == world.need(Service, "hello").metadata.uid
    )
