"""Names and annotations of the objects themselves (§1.9, §5.3)."""

import pytest

SAYS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)


def test_the_name_is_a_dns_1035_label(judge):
    assert judge.errors(judge.service(metadata={"name": "1hello"})) == [
        f"not a DNS 1035 label: [{SAYS}]: metadata.name"
    ]
    assert judge.errors(judge.service(metadata={"name": "x" * 64})) == [
        "not a DNS 1035 label: [must be no more than 63 characters]: metadata.name"
    ]


def test_generate_name_is_a_prefix_of_one(judge):
    said = judge.errors(judge.service(metadata={"name": "", "generateName": "Hello-"}))
    assert said == [f"not a DNS 1035 label prefix: [{SAYS}]: metadata.generateName"]
    assert judge.errors(judge.service(metadata={"name": "", "generateName": "hello-"})) == []


def test_one_of_them_is_required(judge):
    assert judge.errors(judge.service(metadata={"name": ""})) == ["name or generateName is required: metadata.name"]


@pytest.mark.parametrize("kind", ["Service", "Configuration", "Route"])
def test_autoscaling_annotations_belong_under_the_template(judge, kind):
    spec = {"template": {"spec": {"containers": [{"image": "x/y"}]}}}
    if kind == "Route":
        spec = {"traffic": [{"configurationName": "a", "percent": 100}]}
    annotations = {"annotations": {"autoscaling.knative.dev/min-scale": "1"}}
    assert judge.errors(judge.build("serving.knative.dev", kind, metadata=annotations, spec=spec)) == [
        'invalid key name "autoscaling.knative.dev/min-scale": metadata.annotations\n'
        'autoscaling annotations must be put under "spec.template.metadata.annotations" to work'
    ]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("x", "invalid value: x"),
        ("1500ms", "rollout-duration=1500ms is not at second precision"),
        ("-1s", "rollout-duration=-1s must be positive"),
    ],
)
@pytest.mark.parametrize("key", ["serving.knative.dev/rollout-duration", "serving.knative.dev/rolloutDuration"])
def test_the_rollout_duration_is_whole_seconds(judge, key, value, error):
    assert judge.errors(judge.service(metadata={"annotations": {key: value}})) == [
        f"{error}: metadata.annotations.{key}"
    ]


def test_a_good_rollout_duration(judge):
    assert judge.errors(judge.service(metadata={"annotations": {"serving.knative.dev/rollout-duration": "0s"}})) == []
    assert judge.errors(judge.service(metadata={"annotations": {"serving.knative.dev/rollout-duration": "2m"}})) == []


@pytest.mark.parametrize("kind", ["Configuration", "Route"])
def test_an_owner_label_needs_its_owner_reference(judge, kind):
    spec = {"template": {"spec": {"containers": [{"image": "x/y"}]}}}
    if kind == "Route":
        spec = {"traffic": [{"configurationName": "a", "percent": 100}]}
    label = {"labels": {"serving.knative.dev/service": "hello"}}
    assert judge.errors(judge.build("serving.knative.dev", kind, metadata=label, spec=spec)) == [
        "missing field(s): metadata.labels.serving.knative.dev/service"
    ]
    owner = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello", "uid": "1"}
    owned = {**label, "ownerReferences": [owner]}
    assert judge.errors(judge.build("serving.knative.dev", kind, metadata=owned, spec=spec), internal=True) == []
