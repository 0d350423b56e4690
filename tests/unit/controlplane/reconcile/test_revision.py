"""Revision → PodAutoscaler, pods and conditions (spec/serving.md §2.3, §16.4)."""

import pytest

from dataplane.resources.core import Pod
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Configuration, PodAutoscaler, Revision, Service

NAME = "hello-00001"


def started(world, **meta):
    world.service(**meta)
    world.settle()


def test_a_new_revision_is_tried_out_with_its_initial_scale(world):
    started(world)
    assert world.need(PodAutoscaler, NAME).status.desired_scale == 1
    assert len(world.pods()) == 1
    assert world.state(Revision, NAME) == ("Unknown", "Deploying")
    assert world.state(Revision, NAME, "Active") == ("Unknown", "Queued")


def test_a_ready_pod_makes_it_ready(world):
    world.deployed()
    status = world.need(Revision, NAME).status
    assert (status.actual_replicas, status.desired_replicas) == (1, 1)
    assert [c.name for c in status.container_statuses] == ["user-container"]
    assert world.state(Revision, NAME, "ContainerHealthy") == ("True", "")
    assert world.state(Revision, NAME, "ResourcesAvailable") == ("True", "")
    assert ("RevisionReady", "Revision becomes ready upon all resources being ready") in world.events


def test_all_of_a_larger_initial_scale_must_come_up(world):
    template = {
        "metadata": {"annotations": {"autoscaling.knative.dev/initial-scale": "3"}},
        "spec": {"containers": [{"name": "user-container", "image": "demo://hello"}]},
    }
    started(world, template=template)
    pods = world.pods()
    assert len(pods) == 3
    for pod in pods[:2]:
        world.pod_becomes(pod, ready=True)
    world.settle()
    assert world.state(Revision, NAME, "ContainerHealthy") == ("True", "")
    assert world.state(Revision, NAME)[0] == "Unknown"
    world.pods_become_ready()
    world.settle()
    assert world.state(Revision, NAME) == ("True", "")


def test_initial_scale_zero_needs_no_pod_to_be_ready(world):
    template = {
        "metadata": {"annotations": {"autoscaling.knative.dev/initial-scale": "0"}},
        "spec": {"containers": [{"name": "user-container", "image": "demo://hello"}]},
    }
    started(world, template=template)
    assert world.pods() == []
    assert world.state(Revision, NAME) == ("True", "")
    assert world.state(Revision, NAME, "Active") == ("False", "NoTraffic")


def test_initial_scale_zero_is_no_failure_while_its_autoscaler_has_not_been_looked_at(world):
    template = {
        "metadata": {"annotations": {"autoscaling.knative.dev/initial-scale": "0"}},
        "spec": {"containers": [{"name": "user-container", "image": "demo://hello"}]},
    }
    world.service(template=template)
    for controller, struct, name in (
        ("service", Service, "hello"),
        ("configuration", Configuration, "hello"),
        ("revision", Revision, NAME),
        ("revision", Revision, NAME),
    ):
        world.look(controller, struct, name)
    assert world.state(Revision, NAME, "ResourcesAvailable") == ("True", "")


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        (1, "no such module", "Container failed with: no such module"),
        (0, "", "Container failed with: container exited with no error"),
        (137, "", "Container failed with: "),
    ],
)
def test_a_crashed_container_is_named_by_its_exit_code(world, code, said, message):
    started(world)
    world.pods_crash(code, said)
    world.settle()
    assert world.state(Revision, NAME, "ContainerHealthy") == ("False", f"ExitCode{code}")
    assert world.message(Revision, NAME) == message
    assert world.need(PodAutoscaler, NAME).spec.reachability == "Unreachable"
    assert len(world.pods()) == 1, "it goes on trying"


def test_a_missing_container_fails_at_once_with_the_kubelets_words(world):
    started(world)
    world.pods_wait("ContainerMissing", 'image "x" is in neither place: ...')
    world.settle()
    assert world.state(Revision, NAME, "ContainerHealthy") == ("False", "ContainerMissing")
    assert world.message(Revision, NAME) == 'image "x" is in neither place: ...'


def test_waiting_fails_only_after_the_progress_deadline(world):
    started(world)
    world.pods_wait("CreateContainerConfigError", 'secret "s" not found')
    world.settle()
    assert world.state(Revision, NAME)[0] == "Unknown"
    outcome = world.look("revision", Revision, NAME)
    assert outcome.requeue_after_s == 600
    world.now += 600
    world.settle()
    assert world.state(Revision, NAME, "ResourcesAvailable") == ("False", "CreateContainerConfigError")
    assert world.message(Revision, NAME) == 'secret "s" not found'


def test_no_pod_within_the_progress_deadline_fails_the_revision(world):
    template = {
        "metadata": {"annotations": {"serving.knative.dev/progress-deadline": "30s"}},
        "spec": {"containers": [{"name": "user-container", "image": "demo://hello"}]},
    }
    started(world, template=template)
    world.now += 31
    world.settle()
    assert world.state(Revision, NAME) == ("False", "ProgressDeadlineExceeded")
    assert world.message(Revision, NAME) == "Initial scale was never achieved"


def test_given_up_before_it_ever_started_is_failed_for_good(world):
    started(world)
    world.decide(NAME, 0, active="False")
    world.settle()
    assert world.state(PodAutoscaler, NAME, "Active") == ("False", "TimedOut")
    assert world.state(Revision, NAME, "ResourcesAvailable") == ("False", "ProgressDeadlineExceeded")
    assert world.state(Revision, NAME, "Active") == ("False", "TimedOut")
    assert world.pods() == []


def test_a_pod_that_recovers_heals_the_revision(world):
    started(world)
    world.pods_crash()
    world.settle()
    assert world.state(Revision, NAME)[0] == "False"
    world.pods_become_ready()
    world.settle()
    assert world.state(Revision, NAME) == ("True", "")
    assert world.need(PodAutoscaler, NAME).spec.reachability == "Reachable"


def test_scaled_to_zero_it_stays_ready(world):
    world.deployed()
    world.decide(NAME, 0, active="False")
    world.settle()
    assert world.state(Revision, NAME) == ("True", "")
    assert world.state(Revision, NAME, "Active") == ("False", "NoTraffic")
    status = world.need(Revision, NAME).status
    assert (status.actual_replicas, status.desired_replicas) == (0, 0)


def test_a_foreign_pod_autoscaler_is_not_touched(world):
    foreign = world.put(PodAutoscaler(metadata=ObjectMeta(name=NAME, namespace="default")))
    started(world)
    assert world.state(Revision, NAME, "ResourcesAvailable") == ("False", "NotOwned")
    assert world.get(PodAutoscaler, NAME) == foreign
    assert world.pods() == []


def test_scale_annotations_may_change_while_it_lives(world):
    from msgspec.structs import replace

    world.deployed()
    revision = world.need(Revision, NAME)
    annotations = {**revision.metadata.annotations, "autoscaling.knative.dev/min-scale": "2"}
    world.put(replace(revision, metadata=replace(revision.metadata, annotations=annotations)))
    world.settle()
    assert world.need(PodAutoscaler, NAME).metadata.annotations == {"autoscaling.knative.dev/min-scale": "2"}


def test_pods_carry_what_the_runtime_contract_asks_for(world):
    world.deployed()
    (pod,) = world.all(Pod)
    labels = pod.metadata.labels
    revision = world.need(Revision, NAME)
    assert labels["app"] == NAME
    assert labels["serving.knative.dev/revisionUID"] == revision.metadata.uid
    assert labels["serving.knative.dev/configuration"] == labels["serving.knative.dev/service"] == "hello"
    assert "serving.knative.dev/routingState" not in labels
    assert pod.spec.termination_grace_period_seconds == 300
    assert pod.metadata.annotations["kubectl.kubernetes.io/default-container"] == "user-container"
    (ref,) = pod.metadata.owner_references
    assert (ref.kind, ref.uid) == ("Revision", revision.metadata.uid)
