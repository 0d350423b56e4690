"""Configuration → Revisions (spec/serving.md §2.2, §2.3)."""

from msgspec.structs import replace

from dataplane.resources.core import Pod
from dataplane.resources.meta import Condition
from dataplane.resources.serving import Configuration, Revision, Service


def ready(world, name, status="True", message=""):
    revision = world.need(Revision, name)
    found = (Condition(type="Ready", status=status, message=message),)
    world.put(replace(revision, status=replace(revision.status, conditions=found)))


def test_a_revision_copies_the_template_and_says_whose_it_is(world):
    world.service(
        annotations={"serving.knative.dev/creator": "me", "serving.knative.dev/lastModifier": "you", "own": "x"},
        labels={"team": "blue"},
        template={
            "metadata": {"labels": {"l": "1"}, "annotations": {"autoscaling.knative.dev/min-scale": "2"}},
            "spec": {"containers": [{"image": "demo://hello"}], "containerConcurrency": 3},
        },
    )
    world.look("service", Service, "hello")
    world.look("configuration", Configuration, "hello")
    revision, configuration = world.need(Revision, "hello-00001"), world.need(Configuration, "hello")
    assert revision.spec == configuration.spec.template.spec
    assert revision.metadata.labels == {
        "l": "1",
        "serving.knative.dev/configuration": "hello",
        "serving.knative.dev/configurationGeneration": "1",
        "serving.knative.dev/configurationUID": configuration.metadata.uid,
        "serving.knative.dev/service": "hello",
        "serving.knative.dev/serviceUID": configuration.metadata.labels["serving.knative.dev/serviceUID"],
        "serving.knative.dev/routingState": "active",
    }
    annotations = dict(revision.metadata.annotations)
    assert annotations.pop("serving.knative.dev/routingStateModified").endswith("Z")
    assert annotations == {
        "autoscaling.knative.dev/min-scale": "2",
        "serving.knative.dev/creator": "you",
        "serving.knative.dev/routes": "hello",
    }


def test_a_revision_that_nobody_routes_to_is_pending(world):
    world.deployed()
    configuration = world.need(Configuration, "hello")
    lone = replace(configuration.metadata, name="lone", labels={}, annotations={}, owner_references=(), uid="")
    world.put(replace(configuration, metadata=lone, status=type(configuration.status)()))
    world.look("configuration", Configuration, "lone")
    assert world.need(Revision, "lone-00001").metadata.labels["serving.knative.dev/routingState"] == "pending"


def test_the_latest_ready_never_goes_back(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.settle()
    ready(world, "hello-00002", "False", "it broke")
    world.look("configuration", Configuration, "hello")
    status = world.need(Configuration, "hello").status
    assert status.latest_ready_revision_name == "hello-00002"
    assert world.state(Configuration, "hello") == ("False", "RevisionFailed")
    assert world.message(Configuration, "hello") == 'Revision "hello-00002" failed with message: it broke.'
    assert ("LatestReadyFailed", 'Latest ready revision "hello-00002" became not ready') in world.events


def test_a_revision_in_between_may_become_the_latest_ready(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.retemplate()
    world.settle()
    ready(world, "hello-00002")
    world.look("configuration", Configuration, "hello")
    status = world.need(Configuration, "hello").status
    assert (status.latest_created_revision_name, status.latest_ready_revision_name) == ("hello-00003", "hello-00002")
    assert world.state(Configuration, "hello") == ("Unknown", "")


def test_events_tell_the_story(world):
    world.deployed()
    assert ("Created", 'Created Revision "hello-00001"') in world.events
    assert ("ConfigurationReady", "Configuration becomes ready") in world.events
    assert ("LatestReadyUpdate", 'LatestReadyRevisionName updated to "hello-00001"') in world.events


def test_an_own_name_rolls_back_to_an_older_revision(world):
    spec = {"containers": [{"name": "user-container", "image": "demo://blue"}]}
    blue = {"metadata": {"name": "hello-blue"}, "spec": spec}
    world.service(template=blue)
    world.settle()
    world.pods_become_ready()
    world.settle()
    world.retemplate(metadata=type(world.need(Configuration, "hello").metadata)(name="hello-green"))
    world.settle()
    world.pods_become_ready()
    world.settle()
    assert world.need(Configuration, "hello").status.latest_ready_revision_name == "hello-green"
    world.service(template=blue)
    world.settle()
    status = world.need(Configuration, "hello").status
    assert (status.latest_created_revision_name, status.latest_ready_revision_name) == ("hello-blue", "hello-blue")
    assert world.state(Configuration, "hello") == ("True", "")


def test_a_deleted_revision_of_the_present_generation_comes_back(world):
    world.deployed()
    world.delete(Revision, "hello-00001")
    world.settle()
    assert world.get(Revision, "hello-00001") is not None
    world.drained()
    world.settle()
    assert len(world.all(Pod)) == 1
