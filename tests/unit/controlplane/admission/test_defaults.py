"""Defaulting (§2.1, §2.3)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.resources.core import Probe, TCPSocketAction
from dataplane.resources.serving import TrafficTarget


def defaulted(judge, config=None, container=None, **pod):
    return judge.admit(judge.service(container=container, pod=pod), config=config).object.spec.template.spec


def test_a_service_without_traffic_sends_all_to_the_latest(judge):
    assert judge.admit(judge.service()).object.spec.traffic == (TrafficTarget(percent=100, latest_revision=True),)


def test_traffic_entries_get_latest_and_percent(judge):
    new = judge.service(traffic=[{"percent": 100}, {"revisionName": "hello-1", "tag": "old"}])
    assert judge.admit(new).object.spec.traffic == (
        TrafficTarget(percent=100, latest_revision=True),
        TrafficTarget(revision_name="hello-1", tag="old", percent=0, latest_revision=False),
    )


def test_stock_timeouts_have_no_response_start_timeout(judge):
    spec = defaulted(judge)
    assert (spec.timeout_seconds, spec.response_start_timeout_seconds, spec.idle_timeout_seconds) == (300, None, None)
    assert spec.container_concurrency == 0
    assert spec.enable_service_links is False


def test_a_long_timeout_silently_gets_a_response_start_timeout(judge):
    spec = defaulted(judge, timeoutSeconds=600)
    assert (spec.timeout_seconds, spec.response_start_timeout_seconds) == (600, 300)
    assert defaulted(judge, timeoutSeconds=600, responseStartTimeoutSeconds=0).response_start_timeout_seconds == 0


def test_an_idle_timeout_counts_where_it_is_shorter(judge):
    config = {"config-defaults": {"revision-idle-timeout-seconds": "60"}}
    assert defaulted(judge, config).idle_timeout_seconds == 60
    assert defaulted(judge, config, timeoutSeconds=60).idle_timeout_seconds is None
    assert defaulted(judge, timeoutSeconds=0).timeout_seconds == 300, "0 is as good as unset"


@pytest.mark.parametrize(
    ("names", "init", "expected", "expected_init"),
    [
        ([""], [], ["user-container"], []),
        (["", ""], [], ["user-container-0", "user-container-1"], []),
        (["", "user-container-0"], [], ["user-container-1", "user-container-0"], []),
        ([""], ["user-container"], ["user-container-0"], ["user-container"]),
        ([""], [""], ["user-container"], ["init-container"]),
        ([""], ["", ""], ["user-container"], ["init-container-0", "init-container-1"]),
    ],
)
def test_unnamed_containers_get_names(judge, names, init, expected, expected_init):
    containers = [{"image": "a/b", "name": name} for name in names]
    spec = defaulted(judge, containers=containers, initContainers=[{"image": "a/b", "name": name} for name in init])
    assert [one.name for one in spec.containers] == expected
    assert [one.name for one in spec.init_containers] == expected_init


def test_the_name_may_come_from_a_template(judge):
    config = {"config-defaults": {"container-name-template": "{{.Name}}-app"}}
    assert defaulted(judge, config).containers[0].name == "hello-app"


def test_resources_come_from_the_config_only(judge):
    assert defaulted(judge).containers[0].resources.requests == {}
    config = {"config-defaults": {"revision-cpu-request": "400m", "revision-memory-limit": "1G"}}
    resources = defaulted(judge, config, container={"resources": {"requests": {"cpu": "1"}}}).containers[0].resources
    assert (resources.requests, resources.limits) == ({"cpu": "1"}, {"memory": "1G"})


def test_the_serving_container_gets_the_aggressive_tcp_probe(judge):
    assert defaulted(judge).containers[0].readiness_probe == Probe(tcp_socket=TCPSocketAction(), success_threshold=1)
    two = [{"image": "a/b", "ports": [{"containerPort": 80}]}, {"image": "a/c"}]
    spec = defaulted(judge, containers=two)
    assert spec.containers[0].readiness_probe is not None
    assert spec.containers[1].readiness_probe is None


def test_a_probe_with_a_period_gets_kubernetes_defaults(judge):
    probe = {"httpGet": {"path": "/"}, "periodSeconds": 5}
    out = defaulted(judge, container={"readinessProbe": probe}).containers[0].readiness_probe
    assert (out.success_threshold, out.failure_threshold, out.timeout_seconds) == (1, 3, 1)
    out = defaulted(judge, container={"readinessProbe": {"httpGet": {}}}).containers[0].readiness_probe
    assert (out.success_threshold, out.failure_threshold, out.timeout_seconds) == (1, 0, 0)


def test_a_grpc_probe_gets_its_service(judge):
    spec = defaulted(
        judge, container={"livenessProbe": {"grpc": {"port": 1}}, "startupProbe": {"grpc": {"service": "x"}}}
    )
    assert spec.containers[0].liveness_probe.grpc.service == ""
    assert spec.containers[0].startup_probe.grpc.service == "x"


def test_only_scratch_space_can_be_written_to(judge):
    volumes = [{"name": "c", "configMap": {"name": "x"}}, {"name": "e", "emptyDir": {}}]
    mounts = [{"name": "c", "mountPath": "/c"}, {"name": "e", "mountPath": "/e"}]
    init = [{"image": "a/b", "volumeMounts": mounts}]
    spec = defaulted(judge, container={"volumeMounts": mounts}, volumes=volumes, initContainers=init)
    for one in (*spec.containers, *spec.init_containers):
        assert [mount.read_only for mount in one.volume_mounts] == [True, False]


def test_secure_pod_defaults(judge):
    config = {"config-features": {"secure-pod-defaults": "enabled"}}
    admitted = judge.admit(judge.service(container={"ports": [{"containerPort": 80}]}), config=config)
    assert not admitted.errors
    assert not admitted.warnings
    context = admitted.object.spec.template.spec.containers[0].security_context
    assert context.run_as_non_root is True
    assert context.allow_privilege_escalation is False
    assert context.seccomp_profile.type == "RuntimeDefault"
    assert (context.capabilities.drop, context.capabilities.add) == (("ALL",), ("NET_BIND_SERVICE",))
    high = defaulted(judge, config, container={"ports": [{"containerPort": 1024}]})
    assert high.containers[0].security_context.capabilities.add == ()
    pod = {"seccompProfile": {"type": "Unconfined"}, "runAsNonRoot": False}
    context = defaulted(judge, config, securityContext=pod).containers[0].security_context
    assert (context.seccomp_profile, context.run_as_non_root) == (None, None), "the pod has said so"
    bounded = defaulted(judge, {"config-features": {"secure-pod-defaults": "AllowRootBounded"}})
    assert bounded.containers[0].security_context.run_as_non_root is None


def test_an_update_keeps_enable_service_links(judge):
    old = judge.admit(judge.service(pod={"enableServiceLinks": True})).object
    assert judge.admit(judge.service(), old).object.spec == old.spec


def test_a_revision_is_not_defaulted_again(judge):
    raw = judge.build("serving.knative.dev", "Revision", "hello-00001", spec={"containers": [{"image": "a/b"}]})
    created = judge.admit(raw, internal=True).object
    assert created.spec.timeout_seconds == 300
    assert judge.admit(raw, raw, internal=True).object == raw


CONTAINERS = st.fixed_dictionaries(
    {"image": st.just("a/b")},
    optional={
        "name": st.sampled_from(["", "user-container", "user-container-0", "x"]),
        "ports": st.just([{"containerPort": 8080}]),
        "readinessProbe": st.fixed_dictionaries(
            {}, optional={"periodSeconds": st.integers(0, 3), "httpGet": st.just({}), "grpc": st.just({"port": 1})}
        ),
    },
)


@given(containers=st.lists(CONTAINERS, min_size=1, max_size=4), timeout=st.sampled_from([None, 0, 10, 600]))
def test_defaulting_twice_changes_nothing(containers, timeout):
    from controlplane.admission.admit import admit
    from controlplane.knative_config import KnativeConfig
    from dataplane.resources.serving import Service

    spec = {"containers": containers, "timeoutSeconds": timeout}
    new = msgspec.convert({"metadata": {"name": "hello"}, "spec": {"template": {"spec": spec}}}, Service)
    config = KnativeConfig()
    once = admit(new, None, config=config, user="a").object
    assert admit(once, None, config=config, user="a").object == once
    assert admit(new, once, config=config, user="b").object == once, "applied again: no change, no new revision"
