"""Template names, owner labels, and what may not change (§1.2, §2.3, §5.3)."""

import msgspec
import pytest

replace = msgspec.structs.replace
TEMPLATE = {"template": {"spec": {"containers": [{"image": "a/b"}]}}}


def test_a_name_of_ones_own_begins_with_the_parents(judge):
    assert judge.errors(judge.service(template={"name": "hello-one"})) == []
    assert judge.errors(judge.service(template={"name": "other-one"})) == [
        'invalid value: "other-one" must have prefix "hello-": spec.template.metadata.name'
    ]


def test_a_name_of_ones_own_is_a_dns_label(judge):
    (error,) = judge.errors(judge.service(template={"name": "hello-One"}))
    assert error.startswith("invalid value: not a DNS 1035 label: [a DNS-1035 label must consist of")
    assert error.endswith("]: spec.template.metadata.name")
    (error,) = judge.errors(judge.service(template={"generateName": "Hello-"}))
    assert error.startswith("invalid value: not a DNS 1035 label prefix: [")
    assert error.endswith("]: spec.template.metadata.generateName")


def test_no_name_of_ones_own_below_a_generated_name(judge):
    new = judge.service(metadata={"name": "", "generateName": "hello-"}, template={"name": "hello-x-1"})
    assert judge.errors(new) == ["must not set the field(s): spec.template.metadata.name"]


@pytest.mark.parametrize("kind", ["Service", "Configuration"])
def test_a_template_that_changes_under_the_same_name(judge, kind):
    spec = {"template": {"metadata": {"name": "hello-x"}, "spec": {"containers": [{"image": "helloworld:bar"}]}}}
    old = judge.admit(judge.build("serving.knative.dev", kind, spec=spec)).object
    spec["template"]["spec"]["containers"][0]["image"] = "helloworld:foo"
    new = judge.build("serving.knative.dev", kind, spec=spec)
    (error,) = judge.errors(new, old)
    assert error.startswith(
        "Saw the following changes without a name change (-old +new): spec.template.metadata.name\n"
    )
    assert 'spec.containers[0].image:\n\t-: "helloworld:bar"\n\t+: "helloworld:foo"\n' in error


def test_the_same_named_template_again_is_no_change_even_when_it_was_not_merged(judge):
    new = judge.service(template={"name": "hello-x"})
    old = judge.admit(new).object
    again = judge.admit(new, old)
    assert not again.errors
    assert again.object.spec == old.spec


def test_a_named_template_is_not_touched_by_defaults_that_have_changed(judge):
    old = judge.admit(judge.service(template={"name": "hello-x"})).object
    config = {"config-defaults": {"revision-timeout-seconds": "100"}}
    again = judge.admit(old, old, config)
    assert not again.errors
    assert again.object.spec.template.spec.timeout_seconds == 300


def test_a_new_name_may_have_a_new_template(judge):
    old = judge.admit(judge.service(template={"name": "hello-x"})).object
    new = judge.service(template={"name": "hello-y"}, container={"image": "c/d"})
    assert judge.errors(new, old) == []


def revision(judge, **spec):
    owner = {"apiVersion": "serving.knative.dev/v1", "kind": "Configuration", "name": "hello", "uid": "1"}
    metadata = {"labels": {"serving.knative.dev/configuration": "hello"}, "ownerReferences": [owner]}
    return judge.build(
        "serving.knative.dev", "Revision", "hello-00001", metadata=metadata,
        spec={"containers": [{"image": "a/b"}], **spec},
    )  # fmt: skip


def test_a_revisions_spec_never_changes(judge):
    old = judge.admit(revision(judge, containerConcurrency=1), internal=True).object
    new = replace(old, spec=replace(old.spec, container_concurrency=2))
    for internal in (False, True):
        assert judge.errors(new, old, internal=internal) == [
            "Immutable fields changed (-old +new): spec\ncontainerConcurrency:\n\t-: 1\n\t+: 2\n"
        ]


def test_a_revisions_annotations_may_change_within_the_rules(judge):
    old = judge.admit(revision(judge), internal=True).object
    good = {"autoscaling.knative.dev/min-scale": "2"}
    assert judge.errors(replace(old, metadata=replace(old.metadata, annotations=good)), old) == []
    bad = {"autoscaling.knative.dev/min-scale": "x"}
    assert judge.errors(replace(old, metadata=replace(old.metadata, annotations=bad)), old) == [
        "invalid value: x: metadata.annotations.autoscaling.knative.dev/min-scale"
    ]


def test_a_revision_is_not_a_users_to_create(judge):
    assert judge.errors(revision(judge)) == [
        "a Revision is created by changing the template of its Service or Configuration: kind"
    ]
    assert judge.errors(revision(judge), internal=True) == []


def test_a_revisions_configuration_label_needs_its_owner(judge):
    new = judge.build(
        "serving.knative.dev", "Revision", metadata={"labels": {"serving.knative.dev/configuration": "x"}},
        spec={"containers": [{"image": "a/b"}]},
    )  # fmt: skip
    assert judge.errors(new, internal=True) == ["missing field(s): metadata.labels.serving.knative.dev/configuration"]


def test_everything_that_is_wrong_is_said_at_once(judge):
    new = judge.service(
        metadata={"annotations": {"serving.knative.dev/rollout-duration": "soon"}},
        template={"annotations": {"autoscaling.knative.dev/min-scale": "x"}},
        container={"image": "", "ports": [{"containerPort": 8012}]},
        pod={"timeoutSeconds": 9999},
        traffic=[{"latestRevision": True, "percent": 90}],
    )
    assert len(judge.errors(new)) == 6
