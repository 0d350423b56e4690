"""Probes (§5.3)."""

import pytest

HTTP = {"httpGet": {"path": "/"}}


@pytest.mark.parametrize("name", ["readinessProbe", "livenessProbe", "startupProbe"])
def test_a_probe_has_exactly_one_handler(judge, name):
    both = {"httpGet": {}, "exec": {"command": ["x"]}, "successThreshold": 1}
    assert judge.container_errors(**{name: both}) == [
        f"expected exactly one, got both: C.{name}.exec, C.{name}.httpGet"
    ]


@pytest.mark.parametrize("name", ["livenessProbe", "startupProbe"])
def test_a_probe_without_handler(judge, name):
    assert judge.container_errors(**{name: {"periodSeconds": 1}}) == [
        f"expected exactly one, got neither: C.{name}.exec, C.{name}.grpc, C.{name}.httpGet, C.{name}.tcpSocket"
    ]


@pytest.mark.parametrize("handler", ["httpGet", "tcpSocket"])
def test_a_named_probe_port_is_the_containers(judge, handler):
    assert judge.container_errors(livenessProbe={handler: {"port": "metrics"}}) == [
        f"invalid value: metrics: C.livenessProbe.{handler}.port\nProbe port must match container port"
    ]
    h2c = [{"name": "h2c", "containerPort": 8080}]
    assert judge.container_errors(livenessProbe={handler: {"port": "h2c"}}, ports=h2c) == []
    assert judge.container_errors(livenessProbe={handler: {"port": 1234}}) == [], "a number may differ"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"periodSeconds": -1}, "expected 0 <= -1 <= 2147483647: C.readinessProbe.periodSeconds"),
        ({"initialDelaySeconds": -1}, "expected 0 <= -1 <= 2147483647: C.readinessProbe.initialDelaySeconds"),
        ({"successThreshold": -1}, "expected 1 <= -1 <= 2147483647: C.readinessProbe.successThreshold"),
        (
            {"failureThreshold": 2},
            "failureThreshold is disallowed when periodSeconds is zero: C.readinessProbe.failureThreshold",
        ),
        (
            {"timeoutSeconds": 2},
            "timeoutSeconds is disallowed when periodSeconds is zero: C.readinessProbe.timeoutSeconds",
        ),
        (
            {"periodSeconds": 1, "timeoutSeconds": -1},
            "expected 1 <= -1 <= 2147483647: C.readinessProbe.timeoutSeconds",
        ),
        (
            {"periodSeconds": 1, "failureThreshold": -1},
            "expected 1 <= -1 <= 2147483647: C.readinessProbe.failureThreshold",
        ),
    ],
)
def test_numbers_of_a_readiness_probe(judge, fields, error):
    assert judge.container_errors(readinessProbe={**HTTP, **fields}) == [error]


def test_good_readiness_probes(judge):
    assert judge.container_errors(readinessProbe=HTTP) == []
    assert judge.container_errors(readinessProbe={**HTTP, "periodSeconds": 5}) == []
    assert judge.container_errors(readinessProbe={"grpc": {"port": 8080}}) == []


def sidecar(**fields):
    return {"containers": [{"image": "a/b", "ports": [{"containerPort": 80}]}, {"image": "a/c", **fields}]}


def test_a_sidecars_probe_needs_the_feature(judge):
    probe = {"tcpSocket": {"port": 1}, "timeoutSeconds": 3}
    assert judge.pod_errors(**sidecar(livenessProbe=probe)) == [
        "must not set the field(s): S.containers[1].livenessProbe, S.containers[1].livenessProbe.timeoutSeconds"
    ]
    on = {"config-features": {"multi-container-probing": "enabled"}}
    assert judge.pod_errors(on, **sidecar(livenessProbe=probe)) == []


def test_a_sidecars_probe_says_its_port(judge):
    on = {"config-features": {"multi-container-probing": "enabled"}}
    assert judge.pod_errors(on, **sidecar(livenessProbe=HTTP)) == [
        "invalid value: 0: S.containers[1].livenessProbe.httpGet.port\nProbe port must be specified"
    ]
