"""What a pod's status says."""

import pytest

from controlplane.drivers.contract import ContainerReport
from controlplane.kubelet.refusal import NotRunnable
from controlplane.kubelet.status import Seen, status
from dataplane.resources.core import Container, Pod, PodSpec
from dataplane.resources.meta import condition

POD = Pod(spec=PodSpec(containers=(Container(name="a", image="img"), Container(name="b")), init_containers=()))
WITH_INIT = Pod(spec=PodSpec(containers=(Container(name="a"),), init_containers=(Container(name="i"),)))


def report(name: str, state: str = "running", **more) -> ContainerReport:
    return ContainerReport(**{"name": name, "state": state, **more})


def seen(*reports: ContainerReport, **more) -> Seen:
    return Seen(**{"reports": {r.name: r for r in reports}, **more})


def test_before_anything_happened_it_is_pending_and_creating():
    found = status(POD, Seen(), 0)
    assert found.phase == "Pending"
    assert found.container_statuses[0].state.waiting.reason == "ContainerCreating"
    assert condition(found.conditions, "Ready").message == "containers with unready status: [a b]"


def test_a_refusal_is_the_waiting_reason_of_its_container():
    found = status(POD, Seen(refused=NotRunnable("ContainerMissing", "why", "a")), 0)
    a, b = found.container_statuses
    assert (a.state.waiting.reason, a.state.waiting.message) == ("ContainerMissing", "why")
    assert b.state.waiting.reason == "ContainerCreating"


def test_running_and_ready():
    now = seen(report("a", pid=7, started_at=1.0), report("b"), ready={"a": True, "b": True}, pod_ready=True)
    found = status(POD, now, 5)
    assert found.phase == "Running"
    assert [c.ready for c in found.container_statuses] == [True, True]
    assert found.container_statuses[0].container_id == "process://7"
    assert {c.status for c in found.conditions} == {"True"}


def test_transition_times_stay_until_the_status_changes():
    first = status(POD, Seen(), 0)
    second = status(Pod(spec=POD.spec, status=first), Seen(), 100)
    assert condition(second.conditions, "Ready").last_transition_time == "1970-01-01T00:00:00Z"
    ready = seen(report("a"), report("b"), pod_ready=True)
    third = status(Pod(spec=POD.spec, status=second), ready, 200)
    assert condition(third.conditions, "Ready").last_transition_time == "1970-01-01T00:03:20Z"
    assert condition(third.conditions, "PodScheduled").last_transition_time == "1970-01-01T00:00:00Z"


def test_a_crash_loop_shows_the_run_before():
    crashed = report(
        "a",
        "waiting",
        reason="CrashLoopBackOff",
        message="back-off",
        restarts=3,
        last_exit_code=7,
        last_reason="Error",
        last_message="why",
        last_finished_at=60.0,
    )
    (a, _) = status(POD, seen(crashed, report("b")), 0).container_statuses
    assert a.state.waiting.reason == "CrashLoopBackOff"
    assert (a.restart_count, a.last_state.terminated.exit_code, a.last_state.terminated.message) == (3, 7, "why")
    assert a.last_state.terminated.finished_at == "1970-01-01T00:01:00Z"


def test_initialized_follows_the_init_containers():
    waiting = seen(report("i"), report("a", "waiting", reason="PodInitializing"))
    assert condition(status(WITH_INIT, waiting, 0).conditions, "Initialized").status == "False"
    assert status(WITH_INIT, waiting, 0).phase == "Pending"
    done = seen(report("i", "terminated", exit_code=0, reason="Completed"), report("a"))
    assert condition(status(WITH_INIT, done, 0).conditions, "Initialized").status == "True"
    assert status(WITH_INIT, done, 0).init_container_statuses[0].ready


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_a_pod_that_ran_to_its_end(code, phase):
    ended = seen(report("a", "terminated", exit_code=0), report("b", "terminated", exit_code=code))
    assert status(POD, ended, 0).phase == phase


def test_a_lost_pod_has_failed():
    found = status(POD, Seen(over=True), 0)
    assert (found.phase, found.reason) == ("Failed", "NodeLost")
