"""Every unknown field, wrong type and missing field at once (CP-01)."""

import math
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.strict import Fault, close_to, decode, draft_of, unknown_fields
from dataplane.resources.core import ConfigMap, Pod
from dataplane.resources.kinds import KINDS, to_builtins
from dataplane.resources.serving import Service


def service(**container):
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": {"template": {"spec": {"containers": [{"image": "a/b", **container}]}}},
    }


def said(data, struct=Service):
    return [str(fault) for fault in decode(struct, data)[1]]


C = "spec.template.spec.containers[0]"


def test_good_data_becomes_the_object():
    one, faults = decode(Service, service(ports=[{"containerPort": 8080}]))
    assert faults == ()
    assert one.spec.template.spec.containers[0].ports[0].container_port == 8080
    assert decode(Service, to_builtins(one))[0] == one


def test_an_unknown_field_is_named_with_what_was_probably_meant_and_dropped():
    one, faults = decode(Service, service(imagePullPolcy="Always", zzz=1))
    assert faults == (
        Fault(f"{C}.imagePullPolcy", "unknown", "unknown field", "imagePullPolicy"),
        Fault(f"{C}.zzz", "unknown", "unknown field", ""),
    )
    assert one is not None, "it may be dropped"
    assert str(faults[0]) == f'{C}.imagePullPolcy: unknown field; did you mean "imagePullPolicy"?'


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ports": [{"containerPort": "80"}]}, ".ports[0].containerPort: expected an integer, got a string; write it without quotes"),
        ({"ports": [{"containerPort": "http"}]}, ".ports[0].containerPort: expected an integer, got a string"),
        ({"ports": [{"containerPort": 8080.5}]}, ".ports[0].containerPort: expected an integer, got a number"),
        ({"ports": [{"containerPort": True}]}, ".ports[0].containerPort: expected an integer, got true"),
        ({"ports": [{"containerPort": 2**70}]}, ".ports[0].containerPort: expected an integer of 64 bits, got a larger one"),
        ({"ports": {}}, ".ports: expected a list, got an object"),
        ({"ports": [None]}, ".ports[0]: expected an object, got null"),
        ({"env": [{"name": "A", "value": 1}]}, ".env[0].value: expected a string, got a number; put it in quotes"),
        ({"env": [{"name": "A", "value": False}]}, ".env[0].value: expected a string, got false; put it in quotes"),
        ({"env": "A=1"}, ".env: expected a list, got a string"),
        ({"command": "python app.py"}, ".command: expected a list, got a string"),
        ({"stdin": "true"}, ".stdin: expected true or false, got a string; write it without quotes"),
        ({"resources": []}, ".resources: expected an object, got a list"),
        ({"readinessProbe": {"httpGet": {"port": 1.5}}}, ".readinessProbe.httpGet.port: expected an integer or a string, got a number; put it in quotes"),
        ({"readinessProbe": {"httpGet": {"httpHeaders": [{"value": "x"}]}}}, ".readinessProbe.httpGet.httpHeaders[0].name: missing field"),
    ],
)  # fmt: skip
def test_a_wrong_type_says_what_was_expected(fields, message):
    one, faults = decode(Service, service(**fields))
    assert [str(fault) for fault in faults] == [C + message]
    assert one is None


def test_all_of_them_at_once_and_the_draft_has_the_rest():
    data = service(ports=[{"containerPort": "80"}], env=[{"nam": "A"}], command="x")
    draft, faults = draft_of(Service, data)
    assert [fault.kind for fault in faults] == ["type", "unknown", "type"]
    assert draft.spec.template.spec.containers[0].image == "a/b"


def test_null_is_absent():
    data = service(command=None, resources=None)
    data["metadata"] |= {"creationTimestamp": None, "labels": None}
    data["status"] = None
    assert said(data) == []
    assert said({"data": {"a": None}}, ConfigMap) == []
    assert decode(ConfigMap, {"data": {"a": None}})[0].data == {"a": ""}, "what Go makes of it"


def test_a_number_without_fraction_is_an_integer():
    assert (
        decode(Service, service(ports=[{"containerPort": 80.0}]))[0]
        .spec.template.spec.containers[0]
        .ports[0]
        .container_port
        == 80
    )


def test_a_word_out_of_a_list():
    data = {"status": {"conditions": [{"type": "Ready", "status": "true"}]}}
    assert said(data, Service) == ["status.conditions[0].status: expected one of False, True, Unknown"]


def test_values_never_appear_because_they_may_be_secrets():
    from dataplane.resources.core import Secret

    assert "123456" not in str(said({"stringData": {"password": 123456}}, Secret))


def test_a_number_that_json_does_not_have_where_anything_may_stand():
    from dataplane.resources.core import Namespace

    assert said({"spec": {"a": [1.5, {"b": math.inf}]}}, Namespace) == [
        "spec.a[1].b: expected a number, got one that is infinite or none"
    ]
    assert said({"spec": {"a": math.nan}}, Namespace) == ["spec.a: expected a number, got one that is infinite or none"]


def test_unknown_fields_alone():
    assert unknown_fields(Service, service(imge="x")) == [(f"{C}.imge", "image")]
    assert unknown_fields(Service, service(env=1)) == []


def test_anything_but_an_object():
    for data in (None, [], "x", 1, True):
        one, faults = decode(Service, data)
        assert one is None
        assert len(faults) == 1


def test_what_is_meant_by_a_name():
    assert close_to("servce", ["Service", "Route"]) == "Service"
    assert close_to("IMAGE", ["image"]) == "image"
    assert close_to("x" * 65, ["x" * 64]) == ""
    assert close_to("completelydifferent", ["image"]) == ""


def test_a_hostile_number_of_mistakes_costs_no_more_than_the_first_hundred():
    data = {f"field{index}": index for index in range(100_000)}
    start = time.process_time()
    faults = decode(Service, data)[1]
    assert len(faults) == 100
    assert time.process_time() - start < 5, "linear: a suggestion for each would take a minute"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["metadata", "spec", "template", "containers", "env", "name", "image", "status", "conditions", "data", "labels"]
    ), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=200)
@given(JSON, st.sampled_from(KINDS))
def test_no_data_makes_it_raise_and_what_has_no_fault_converts(data, kind):
    one, faults = decode(kind.struct, data)
    assert (one is None) <= bool(faults)
    if one is not None:
        again = decode(kind.struct, msgspec.json.decode(msgspec.json.encode(to_builtins(one))))
        assert again == (one, ())


def test_every_kind_has_a_checker():
    for kind in KINDS:
        assert decode(kind.struct, {"metadata": {"name": "x"}})[1] == ()
    assert decode(Pod, {"spec": {"affinity": {"anything": [None, 1.5, "x"]}}})[1] == ()
