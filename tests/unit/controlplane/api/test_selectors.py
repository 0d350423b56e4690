from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api import selectors
from controlplane.api.status import ApiError
from dataplane.resources import core
from dataplane.resources.kinds import BY_KIND
from dataplane.resources.meta import ObjectMeta

POD, EVENT, MAP = BY_KIND["", "Pod"], BY_KIND["", "Event"], BY_KIND["", "ConfigMap"]


def labelled(**labels: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=ObjectMeta(name="a", namespace="n", labels=labels))


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a = b", {"a": "c"}, False),
        ("a=", {"a": ""}, True),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": "x"}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("! a", {"a": "x"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c)", {"a": "d"}, False),
        ("a in (b,c)", {}, False),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a notin (b,c)", {}, True),
        ("a notin (b)", {"a": "b"}, False),
        ("a=b,c in (d),!e", {"a": "b", "c": "d"}, True),
        ("a=b,c in (d),!e", {"a": "b", "c": "d", "e": ""}, False),
        ("serving.knative.dev/service=hello", {"serving.knative.dev/service": "hello"}, True),
        ("inside", {"inside": "x"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], expected: bool) -> None:
    one = core.ConfigMap(metadata=ObjectMeta(name="a", labels=labels))
    assert selectors.labels(text)(one) is expected


@pytest.mark.parametrize("text", ["a=b=c", "a in b", "a in (b", "=b", "a,,b", "a~b", "a=b c", "(a)", "!a=b"])
def test_what_is_no_label_selector_is_400(text: str) -> None:
    with pytest.raises(ApiError) as error:
        selectors.labels(text)
    assert error.value.code == 400


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_400(text: str) -> None:
    try:
        selectors.labels(text)(labelled(a="b"))
        selectors.fields(MAP, text)(labelled(a="b"))
    except ApiError as error:
        assert error.code == 400


def event(**about: Any) -> core.Event:
    return core.Event(metadata=ObjectMeta(name="e", namespace="n"), involved_object=core.ObjectReference(**about))


def test_field_selectors_by_name_and_namespace_work_for_every_kind() -> None:
    one = labelled()
    assert selectors.fields(MAP, "metadata.name=a,metadata.namespace==n")(one)
    assert not selectors.fields(MAP, "metadata.name!=a")(one)
    assert selectors.fields(MAP, "")(one)


def test_events_are_selected_by_what_they_are_about() -> None:
    text = "involvedObject.kind=Service,involvedObject.name=hello,involvedObject.uid=u"
    assert selectors.fields(EVENT, text)(event(kind="Service", name="hello", uid="u"))
    assert not selectors.fields(EVENT, text)(event(kind="Service", name="hello", uid="v"))
    assert selectors.fields(EVENT, "type=Normal,reason!=Failed")(event())


def test_pods_are_selected_by_phase() -> None:
    running = core.Pod(status=core.PodStatus(phase="Running"))
    assert selectors.fields(POD, "status.phase=Running")(running)
    assert selectors.fields(POD, "status.phase!=Running")(core.Pod())


def test_a_field_that_a_kind_has_not_is_named() -> None:
    with pytest.raises(ApiError, match=r"field label not supported: spec\.x; ConfigMap has metadata\.name"):
        selectors.fields(MAP, "spec.x=1")
