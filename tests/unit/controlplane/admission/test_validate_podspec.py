"""The pod around the containers, and Knative's own limits (§5.3)."""

import pytest

PORT = {"ports": [{"containerPort": 8080}]}
TWO = [{"image": "a/b", **PORT}, {"image": "a/c"}]


def test_containers_are_required(judge):
    assert judge.pod_errors(containers=[]) == ["missing field(s): S.containers"]


def test_an_empty_container_misses_its_image(judge):
    assert judge.pod_errors(containers=[{}]) == ["missing field(s): S.containers[0].image"]


def test_more_than_one_container_needs_multi_container(judge):
    assert judge.pod_errors(containers=TWO) == []
    off = {"config-features": {"multi-container": "disabled"}}
    assert judge.pod_errors(off, containers=TWO) == ["multi-container is off, but found 2 containers: S.containers"]


def test_exactly_one_port_among_several_containers(judge):
    assert judge.pod_errors(containers=[{"image": "a/b"}, {"image": "a/c"}]) == [
        "missing field(s): S.containers[*].ports"
    ]
    more = (
        "more than one container port is set: S.containers[*].ports\n"
        "Only a single port is allowed across all containers"
    )
    assert judge.pod_errors(containers=[{"image": "a/b", **PORT}, {"image": "a/c", **PORT}]) == [more]
    two = [{"containerPort": 8080}, {"containerPort": 8081}]
    assert judge.pod_errors(container={"ports": two}) == [more]


def test_container_names_are_unique(judge):
    containers = [{"image": "a/b", "name": "x", **PORT}, {"image": "a/c", "name": "x"}]
    assert judge.pod_errors(containers=containers) == ['duplicate container name "x": S.containers[1].name']
    init = [{"image": "a/d", "name": "x"}]
    assert judge.pod_errors(container={"name": "x"}, initContainers=init) == [
        'duplicate container name "x": S.initContainers[0].name'
    ]


def test_sidecars_may_set_port_but_not_the_others(judge):
    side = {"image": "a/c", "env": [{"name": "PORT", "value": "1"}, {"name": "K_SERVICE", "value": "x"}]}
    assert judge.pod_errors(containers=[{"image": "a/b", **PORT}, side]) == [
        '"K_SERVICE" is a reserved environment variable: S.containers[1].env[1].name'
    ]


@pytest.mark.parametrize("field", ["livenessProbe", "readinessProbe", "startupProbe"])
def test_init_containers_have_no_probes(judge, field):
    init = [{"image": "a/b", field: {"tcpSocket": {}}}]
    assert judge.pod_errors(initContainers=init) == [
        f"field not allowed in an init container: S.initContainers[0].{field}"
    ]


def test_init_containers_have_no_lifecycle(judge):
    assert judge.pod_errors(initContainers=[{"image": "a/b", "lifecycle": {}}]) == [
        "field not allowed in an init container: S.initContainers[0].lifecycle",
        "must not set the field(s): S.initContainers[0].lifecycle",
    ]


def test_init_containers_behind_their_flag(judge):
    init = [{"image": "a/b"}]
    assert judge.pod_errors(initContainers=init) == [], "on by default here"
    off = {"config-features": {"kubernetes.podspec-init-containers": "disabled"}}
    assert judge.pod_errors(off, initContainers=init) == [
        "must not set the field(s): S.initContainers",
        "pod spec support for init-containers is off, but found 1 init containers: S.initContainers",
    ]


FLAGGED = {
    "affinity": {"x": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "hostAliases": [{"ip": "1.1.1.1"}],
    "nodeSelector": {"a": "b"},
    "runtimeClassName": "x",
    "tolerations": [{"key": "x"}],
    "securityContext": {"runAsUser": 1},
    "shareProcessNamespace": True,
    "priorityClassName": "x",
    "schedulerName": "x",
    "dnsPolicy": "Default",
    "dnsConfig": {"nameservers": []},
    "hostIPC": True,
    "hostPID": True,
    "hostNetwork": True,
}


@pytest.mark.parametrize("field", FLAGGED)
def test_fields_behind_flags(judge, field):
    assert judge.pod_errors(**{field: FLAGGED[field]}) == [f"must not set the field(s): S.{field}"]
    for value in ("Enabled", "allowed"):
        on = {"config-features": {f"kubernetes.podspec-{field.lower()}": value}}
        assert judge.pod_errors(on, **{field: FLAGGED[field]}) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("restartPolicy", "Never"), ("terminationGracePeriodSeconds", 0), ("activeDeadlineSeconds", 1),
        ("nodeName", "n"), ("hostname", "h"), ("subdomain", "s"), ("priority", 1), ("readinessGates", [{"a": 1}]),
    ],
)  # fmt: skip
def test_fields_that_are_never_the_users(judge, field, value):
    assert judge.pod_errors(**{field: value}) == [f"must not set the field(s): S.{field}"]


def test_what_of_the_pod_is_allowed(judge):
    said = judge.pod_errors(
        serviceAccountName="robot", imagePullSecrets=[{"name": "s"}], enableServiceLinks=True,
        automountServiceAccountToken=False,
    )  # fmt: skip
    assert said == []
    assert judge.pod_errors(automountServiceAccountToken=True) == [
        "must not set the field(s): S.automountServiceAccountToken"
    ]
    (error,) = judge.pod_errors(serviceAccountName="Robot")
    assert error.startswith("invalid value: Robot: S.serviceAccountName\n")


def test_the_pods_security_context(judge):
    on = {"config-features": {"kubernetes.podspec-securitycontext": "enabled"}}
    context = {"runAsUser": -1, "fsGroup": 1, "supplementalGroups": [1, -2], "sysctls": []}
    assert judge.pod_errors(on, securityContext=context) == [
        "expected 0 <= -1 <= 2147483647: S.securityContext.runAsUser",
        "expected 0 <= -2 <= 2147483647: S.securityContext.supplementalGroups[1]",
        "must not set the field(s): S.securityContext.sysctls",
    ]


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (601, ["expected 0 <= 601 <= 600: S.timeoutSeconds"]),
        (-30, ["expected 0 <= -30 <= 600: S.timeoutSeconds"]),
        (600, []),
        (0, []),
    ],
)
def test_the_timeout_has_a_maximum(judge, timeout, error):
    assert judge.pod_errors(timeoutSeconds=timeout) == error


def test_the_other_timeouts_are_not_compared_with_it(judge):
    assert judge.pod_errors(timeoutSeconds=10, responseStartTimeoutSeconds=500, idleTimeoutSeconds=-5) == []


def test_container_concurrency(judge):
    assert judge.pod_errors(containerConcurrency=1001) == ["expected 0 <= 1001 <= 1000: S.containerConcurrency"]
    assert judge.pod_errors(containerConcurrency=-1) == ["expected 0 <= -1 <= 1000: S.containerConcurrency"]
    config = {"config-defaults": {"allow-container-concurrency-zero": "false", "container-concurrency": "5"}}
    assert judge.pod_errors(config, containerConcurrency=0) == ["expected 1 <= 0 <= 1000: S.containerConcurrency"]
    assert judge.pod_errors(config) == []


def test_insecure_defaults_are_warned_about_in_one_line(judge):
    (warning,) = judge.admit(judge.service()).warnings
    at = "spec.template.spec.containers[0].securityContext"
    assert warning == (
        "Kubernetes default value is insecure, Knative may default this to secure in a future release: "
        f"{at}.allowPrivilegeEscalation, {at}.capabilities, {at}.runAsNonRoot, {at}.seccompProfile"
    )


def test_a_misspelled_all_is_warned_about(judge):
    context = {
        "capabilities": {"drop": ["all"]}, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
        "seccompProfile": {},
    }  # fmt: skip
    warnings = judge.admit(judge.service(container={"securityContext": context})).warnings
    at = "spec.template.spec.containers[0].securityContext"
    assert warnings == (
        "Kubernetes default value is insecure, Knative may default this to secure in a future release: "
        f"{at}.seccompProfile.type",
        f"invalid value: all: {at}.capabilities.drop\nMust be spelled as 'ALL'",
    )
