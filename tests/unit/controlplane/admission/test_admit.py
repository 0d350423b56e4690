"""Who did it, who may, and that judging is pure (§1.9)."""

import msgspec
import pytest

replace = msgspec.structs.replace
CREATOR, MODIFIER = "serving.knative.dev/creator", "serving.knative.dev/lastModifier"
KINDS = ["Service", "Configuration", "Route"]


def build(judge, kind, image="a/b", **metadata):
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    if kind == "Route":
        spec = {"traffic": [{"revisionName": image.replace("/", "-"), "percent": 100}]}
    return judge.build("serving.knative.dev", kind, metadata=metadata, spec=spec)


def annotated(one, **changes):
    annotations = {
        **one.metadata.annotations,
        **{f"serving.knative.dev/{key}": value for key, value in changes.items()},
    }
    return replace(one, metadata=replace(one.metadata, annotations=annotations))


@pytest.mark.parametrize("kind", KINDS)
def test_a_create_is_marked_with_its_user(judge, kind):
    forged = build(judge, kind, annotations={CREATOR: "mallory", "mine": "kept"})
    assert judge.admit(forged).object.metadata.annotations == {CREATOR: "alice", MODIFIER: "alice", "mine": "kept"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_creator_never_changes(judge, kind):
    old = judge.admit(build(judge, kind)).object
    assert judge.errors(annotated(old, creator="bob"), old) == [
        "annotation value is immutable: metadata.annotations.serving.knative.dev/creator"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_modifier_changes_only_with_the_spec(judge, kind):
    old = judge.admit(build(judge, kind)).object
    assert judge.errors(annotated(old, lastModifier="bob"), old) == [
        "invalid value: bob: metadata.annotations.serving.knative.dev/lastModifier"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_the_spec_is_marked_with_who_made_it(judge, kind):
    old = annotated(judge.admit(build(judge, kind)).object, creator="zoe", lastModifier="zoe")
    new = judge.admit(build(judge, kind, image="c/d"), old)
    assert not new.errors
    assert new.object.metadata.annotations == {CREATOR: "zoe", MODIFIER: "alice"}
    same = judge.admit(build(judge, kind), old)
    assert not same.errors, "leaving the annotations out is no change of them"
    assert same.object.metadata.annotations == {CREATOR: "zoe", MODIFIER: "zoe"}


@pytest.mark.parametrize("kind", ["Configuration", "Route"])
def test_children_of_a_service_carry_what_their_parent_gives_them(judge, kind):
    owner = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello", "uid": "1"}
    made = judge.admit(build(judge, kind, annotations={CREATOR: "zoe"}, ownerReferences=[owner]), internal=True)
    assert made.object.metadata.annotations == {CREATOR: "zoe"}
    assert judge.errors(annotated(made.object, creator="bob"), made.object, internal=True) == []


def test_errors_and_warnings_come_apart(judge):
    admitted = judge.admit(judge.service(container={"image": ""}))
    assert [str(error) for error in admitted.errors] == ["missing field(s): spec.template.spec.containers[0].image"]
    assert len(admitted.warnings) == 1


def test_a_value_nested_beyond_all_reason_is_refused(judge):
    deep: dict[str, object] = {}
    at = deep
    for _ in range(100_000):
        at["a"] = at = {}
    new = judge.service()
    spec = replace(new.spec.template.spec, affinity=deep)
    new = replace(new, spec=replace(new.spec, template=replace(new.spec.template, spec=spec)))
    from controlplane.admission.admit import admit
    from controlplane.knative_config import KnativeConfig

    assert admit(new, new, config=KnativeConfig(), user="a").errors
    while deep:  # take it apart from the outside, so that freeing it does not recurse
        deep = deep.pop("a")
