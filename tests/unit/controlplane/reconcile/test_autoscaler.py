"""PodAutoscaler status (spec/serving.md §10.10, §16.8, §16.9)."""

import pytest

from controlplane.reconcile.autoscaler import _mark_active
from controlplane.reconcile.conditions import Conditions
from dataplane.resources.meta import Condition
from dataplane.resources.serving import PodAutoscaler

NAME = "hello-00001"


@pytest.mark.parametrize(
    ("want", "ready", "minimum", "before", "after"),
    [
        (0, 0, 1, "True", "False"),
        (0, 3, 1, "True", "False"),
        (0, 0, 1, "False", "False"),
        (1, 0, 1, "False", "Unknown"),
        (1, 0, 1, "True", "Unknown"),
        (1, 0, 1, "Unknown", "Unknown"),
        (2, 1, 2, "True", "Unknown"),
        (1, 1, 1, "Unknown", "True"),
        (1, 1, 1, "False", "True"),
        (3, 2, 1, "True", "True"),
    ],
)
def test_the_active_condition_table(want, ready, minimum, before, after):
    marks = Conditions((Condition(type="Active", status=before),), ("Active",), 0.0)
    _mark_active(marks, want=want, ready=ready, minimum=minimum)
    assert marks["Active"].status == after


def test_reasons_and_texts(world):
    world.service()
    world.settle()
    assert world.state(PodAutoscaler, NAME) == ("Unknown", "Queued")
    assert world.message(PodAutoscaler, NAME) == (
        "Requests to the target are being buffered as resources are provisioned."
    )
    world.pods_become_ready()
    world.settle()
    assert world.state(PodAutoscaler, NAME) == ("True", "")
    world.decide(NAME, 0, active="False")
    world.settle()
    assert world.state(PodAutoscaler, NAME) == ("False", "NoTraffic")
    assert world.message(PodAutoscaler, NAME) == "The target is not receiving traffic."


def test_only_decisions_change_the_number(world):
    world.deployed()
    assert world.need(PodAutoscaler, NAME).status.desired_scale == 1
    world.decide(NAME, 4)
    world.settle()
    status = world.need(PodAutoscaler, NAME).status
    assert (status.desired_scale, status.actual_scale) == (4, 1)
    assert status.decision["want"] == 4
    world.decisions.clear()
    world.settle()
    assert world.need(PodAutoscaler, NAME).status.desired_scale == 4, "without decisions the last number stands"
    assert len(world.pods()) == 4


def test_a_decision_that_changes_nothing_is_not_written(world):
    world.deployed()
    world.decide(NAME, 1, active="True", stable_average=0.5)
    world.settle()
    before = world.store.revision
    world.decide(NAME, 1, active="True", stable_average=0.7)
    world.settle()
    assert world.store.revision == before


def test_initialized_never_goes_back(world):
    world.deployed()
    world.decide(NAME, 0, active="False")
    world.settle()
    assert world.state(PodAutoscaler, NAME, "ScaleTargetInitialized") == ("True", "")


def test_min_scale_counts_before_it_is_active(world):
    template = {
        "metadata": {"annotations": {"autoscaling.knative.dev/min-scale": "2"}},
        "spec": {"containers": [{"name": "user-container", "image": "demo://hello"}]},
    }
    world.service(template=template)
    world.settle()
    first, second = world.pods()
    world.pod_becomes(first, ready=True)
    world.settle()
    assert world.state(PodAutoscaler, NAME, "Active") == ("Unknown", "Queued")
    world.pod_becomes(second, ready=True)
    world.settle()
    assert world.state(PodAutoscaler, NAME, "Active") == ("True", "")
