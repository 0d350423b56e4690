"""ConfigMaps, Secrets, Namespaces, Pods."""

import base64

import msgspec
import pytest

replace = msgspec.structs.replace


def config_map(judge, name="settings", namespace="default", **fields):
    return judge.build("", "ConfigMap", name, metadata={"namespace": namespace}, **fields)


def test_a_config_map_of_knatives_own_must_parse(judge):
    bad = config_map(judge, "config-autoscaler", "knative-serving", data={"stable-window": "5s"})
    assert judge.errors(bad) == [
        "invalid configuration: config-autoscaler: stable-window = 5s, must be in [6s; 1h0m0s] range: data"
    ]
    assert judge.errors(config_map(judge, "config-autoscaler", data={"stable-window": "5s"})) == [], "not its namespace"
    good = config_map(judge, "config-autoscaler", "knative-serving", data={"stable-window": "6s", "_example": "x: ["})
    assert judge.errors(good) == []


def test_keys_may_become_files(judge):
    assert judge.errors(config_map(judge, data={"app.properties": "x"})) == []
    for key in ("../x", "..", "a/b", ""):
        (error,) = judge.errors(config_map(judge, data={key: "x"}))
        assert error.startswith(f"invalid value: {key}: data[{key}]\n[")


def test_a_key_is_in_one_of_data_and_binary_data(judge):
    said = judge.errors(config_map(judge, data={"a": "x"}, binaryData={"a": "eA=="}))
    assert said == ['the key "a" is in data and in binaryData: binaryData[a], data[a]']


def test_binary_data_is_base64(judge):
    assert judge.errors(config_map(judge, binaryData={"a": "not base64"})) == [
        "not base64 (put plain text under data): binaryData[a]"
    ]


def test_an_immutable_config_map_stays_as_it_is(judge):
    old = config_map(judge, data={"a": "1"}, immutable=True)
    assert judge.errors(old, old) == []
    assert judge.errors(config_map(judge, data={"a": "2"}), old) == [
        "field is immutable when `immutable` is set: data, immutable"
    ]


def test_a_config_map_has_a_size(judge):
    (error,) = judge.errors(config_map(judge, data={"a": "x" * 2**20}))
    assert error == "Too long: may not be more than 1048576 bytes, is 1048577: data"


def test_string_data_is_folded_into_data_and_wins(judge):
    new = judge.build("", "Secret", data={"a": "eA==", "b": "eQ=="}, stringData={"a": "plain"})
    admitted = judge.admit(new)
    assert not admitted.errors
    assert admitted.object.data == {"a": base64.b64encode(b"plain").decode(), "b": "eQ=="}
    assert admitted.object.string_data == {}


def test_a_secrets_values_are_base64_and_never_in_the_message(judge):
    (error,) = judge.errors(judge.build("", "Secret", data={"password": "hunter2!"}))
    assert error == "not base64 (put plain text under stringData): data[password]"


def test_a_secrets_type_does_not_change(judge):
    old = judge.build("", "Secret", type="Opaque")
    assert judge.errors(replace(old, type="kubernetes.io/tls"), old) == ["field is immutable: type"]


def test_namespaces_are_labels(judge):
    assert judge.errors(judge.build("", "Namespace", "team-1")) == []
    (error,) = judge.errors(judge.build("", "Namespace", "team.1"))
    assert error.startswith("invalid value: team.1: metadata.name\na lowercase RFC 1123 label")


def pod(judge, *containers):
    return judge.build("", "Pod", spec={"containers": list(containers)})


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        ([], ["missing field(s): spec.containers"]),
        ([{}], ["missing field(s): spec.containers[0].image, spec.containers[0].name"]),
        ([{"name": "a", "command": ["true"]}], []),
        (
            [{"name": "a", "image": "x"}, {"name": "a", "image": "y"}],
            ['duplicate container name "a": spec.containers[1].name'],
        ),
    ],
)
def test_pods(judge, containers, said):
    assert judge.errors(pod(judge, *containers)) == said


def test_a_users_pod_does_not_change_and_a_reconcilers_may(judge):
    old = pod(judge, {"name": "a", "image": "x"})
    new = pod(judge, {"name": "a", "image": "y"})
    (error,) = judge.errors(new, old)
    assert error.startswith("Immutable fields changed (-old +new): spec\n")
    assert judge.errors(new, old, internal=True) == []


def test_every_other_kind_has_a_name(judge):
    assert judge.errors(judge.build("", "ServiceAccount", "robot.1")) == []
    assert judge.errors(judge.build("", "ServiceAccount", "")) == ["name or generateName is required: metadata.name"]
