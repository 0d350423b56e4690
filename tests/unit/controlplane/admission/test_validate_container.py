"""One container (§5.3)."""

import pytest

from controlplane.admission.validate_container import is_image_reference


@pytest.mark.parametrize("port", [8012, 8013, 8022, 9090, 9091, 8008])
def test_reserved_ports(judge, port):
    assert judge.container_errors(ports=[{"containerPort": port}]) == [
        f"invalid value: {port} is a reserved port: C.ports[0].containerPort\n"
        f"{port} is a reserved port, please use a different value"
    ]


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_lies_in_its_range(judge, port):
    assert judge.container_errors(ports=[{"containerPort": port}]) == [
        f"expected 0 <= {port} <= 65535: C.ports[0].containerPort"
    ]


def test_the_port_name_chooses_the_protocol(judge):
    for name in ("", "http1", "h2c"):
        assert judge.container_errors(ports=[{"name": name, "containerPort": 80}]) == []
    assert judge.container_errors(ports=[{"name": "grpc", "containerPort": 80}]) == [
        "Port name grpc is not allowed: C.ports[0]\nName must be empty, or one of: 'h2c', 'http1'"
    ]


def test_other_fields_of_a_port(judge):
    assert judge.container_errors(ports=[{"containerPort": 80, "protocol": "TCP"}]) == []
    assert judge.container_errors(ports=[{"containerPort": 80, "protocol": "UDP"}]) == [
        "invalid value: UDP: C.ports[0].protocol"
    ]
    assert judge.container_errors(ports=[{"containerPort": 80, "hostPort": 80, "hostIP": "1.2.3.4"}]) == [
        "must not set the field(s): C.ports[0].hostIP, C.ports[0].hostPort"
    ]


def test_the_queue_proxys_name_is_taken(judge):
    assert judge.container_errors(name="queue-proxy") == ['"queue-proxy" is a reserved container name: C.name']


def test_a_name_can_be_a_file_name(judge):
    (error,) = judge.container_errors(name="../up")
    assert error.startswith("invalid value: ../up: C.name\na lowercase RFC 1123 label must consist of")


def test_the_image_is_required_and_must_parse(judge):
    assert judge.container_errors(image="") == ["missing field(s): C.image"]
    assert judge.container_errors(image="foo:bar:baz") == [
        'Failed to parse image reference: C.image\nimage: "foo:bar:baz", error: could not parse reference: foo:bar:baz'
    ]


def test_a_command_needs_no_image(judge):
    assert judge.container_errors(image="", command=["python3", "app.py"]) == []
    assert judge.container_errors(image="", args=["app.py"]) == ["missing field(s): C.image"]


@pytest.mark.parametrize(
    "image",
    [
        "busybox", "ghcr.io/knative/helloworld-go:latest", "localhost:5000/ab", "a/b@sha256:" + "0" * 64,
        "a.b/c/d:v1.2_3",        "host:80/x/y:t@sha256:" + "f" * 64, "dev.local/hello",
    ],
)  # fmt: skip
def test_image_references(image):
    assert is_image_reference(image)


@pytest.mark.parametrize(
    "image",
    [
        "a",
        "foo:bar:baz",
        "Busybox",
        "a b",
        "x/y@sha256:12",
        "x/y:",
        "x/y:" + "t" * 129,
        "ghcr.io/",
        "x" * 2000,
        "a/b:ta g",
    ],
)
def test_what_is_no_image_reference(image):
    assert not is_image_reference(image)


def test_a_program_may_stand_for_an_image(judge):
    assert judge.container_errors(image="demo://hello") == []
    assert judge.container_errors(image="python://app.main:handler") == []
    assert judge.container_errors(image="http://x/y") != []


@pytest.mark.parametrize("name", ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"])
def test_reserved_environment_variables(judge, name):
    assert judge.container_errors(env=[{"name": "A", "value": "1"}, {"name": name, "value": "x"}]) == [
        f'"{name}" is a reserved environment variable: C.env[1].name'
    ]


def test_a_variable_has_a_name(judge):
    assert judge.container_errors(env=[{"value": "x"}]) == ["missing field(s): C.env[0].name"]
    (error,) = judge.container_errors(env=[{"name": "A=B"}])
    assert error.startswith("invalid value: A=B: C.env[0].name\n")


def test_a_variable_may_come_from_a_config_map_or_secret_and_with_the_feature_from_a_field(judge):
    refs = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert judge.container_errors(env=refs) == []
    field = [{"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    assert judge.container_errors(env=field) == ["must not set the field(s): C.env[0].valueFrom.fieldRef"]
    assert judge.container_errors({"config-features": {"kubernetes.podspec-fieldref": "allowed"}}, env=field) == []
    resource = [{"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]
    assert judge.container_errors(env=resource) == ["must not set the field(s): C.env[0].valueFrom.resourceFieldRef"]


def test_env_from_names_exactly_one(judge):
    assert judge.container_errors(envFrom=[{"prefix": "X_"}]) == [
        "expected exactly one, got neither: C.envFrom[0].configMapRef, C.envFrom[0].secretRef"
    ]
    assert judge.container_errors(envFrom=[{"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]) == [
        "expected exactly one, got both: C.envFrom[0].configMapRef, C.envFrom[0].secretRef"
    ]
    assert judge.container_errors(envFrom=[{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]) == []


def test_disallowed_fields_are_named_together(judge):
    said = judge.container_errors(lifecycle={}, stdin=True, stdinOnce=True, tty=True, volumeDevices=[{"name": "x"}])
    assert said == ["must not set the field(s): C.lifecycle, C.stdin, C.stdinOnce, C.tty, C.volumeDevices"]


def test_resources_are_quantities(judge):
    assert (
        judge.container_errors(
            resources={"limits": {"cpu": 1, "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": 0}}
        )
        == []
    )
    (error,) = judge.container_errors(resources={"limits": {"memory": "64MB"}})
    assert error.startswith("invalid value: 64MB: C.resources.limits.memory\nquantities must match")
    assert judge.container_errors(resources={"limits": {"cpu": "-1"}}) == [
        "invalid value: -1: C.resources.limits.cpu\nmust be greater than or equal to 0"
    ]


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ({"privileged": True}, "must not set the field(s): C.securityContext.privileged"),
        ({"capabilities": {"add": ["ALL"]}}, "must not set the field(s): C.securityContext.capabilities.add"),
        ({"runAsUser": -10}, "expected 0 <= -10 <= 2147483647: C.securityContext.runAsUser"),
        ({"runAsGroup": 2**31}, "expected 0 <= 2147483648 <= 2147483647: C.securityContext.runAsGroup"),
    ],
)
def test_security_contexts(judge, context, error):
    assert judge.container_errors(securityContext=context) == [error]


def test_a_good_security_context(judge):
    context = {
        "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True, "runAsUser": 65532, "runAsGroup": 0,
        "runAsNonRoot": True, "allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"},
        "privileged": False,
    }  # fmt: skip
    admitted = judge.admit(judge.service(container={"securityContext": context}))
    assert not admitted.errors
    assert not admitted.warnings


def test_adding_capabilities_needs_its_feature(judge):
    on = {"config-features": {"kubernetes.containerspec-addcapabilities": "enabled"}}
    assert judge.container_errors(on, securityContext={"capabilities": {"add": ["NET_ADMIN"]}}) == []


def test_termination_message_policy(judge):
    assert judge.container_errors(terminationMessagePolicy="FallbackToLogsOnError") == []
    assert judge.container_errors(terminationMessagePolicy="x") == ["invalid value: x: C.terminationMessagePolicy"]
