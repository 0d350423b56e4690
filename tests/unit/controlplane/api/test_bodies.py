import pytest

from controlplane.api import bodies
from controlplane.api.status import ApiError
from dataplane.resources import core, serving
from dataplane.resources.kinds import BY_KIND
from dataplane.resources.meta import ObjectMeta

SERVICE, MAP, SECRET = BY_KIND[serving.GROUP, "Service"], BY_KIND["", "ConfigMap"], BY_KIND["", "Secret"]


def test_json_and_yaml_give_the_same() -> None:
    assert bodies.parse(b'{"a": [1, null]}', "application/json") == {"a": [1, None]}
    assert bodies.parse(b"a: [1, null]", "application/yaml") == {"a": [1, None]}
    assert bodies.parse(b'{"a": "b"}', "application/apply-patch+yaml") == {"a": "b"}


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b"a: b", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"a: b: c", "application/yaml", 400),
        (b"a: 1\n---\nb: 2", "application/yaml", 400),
        (b"", "application/yaml", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"x", "application/vnd.kubernetes.protobuf", 415),
        (b"\xa0", "application/cbor", 415),
    ],
)
def test_CP_01_broken_bodies_are_refused(body: bytes, content_type: str, code: int) -> None:
    with pytest.raises(ApiError) as error:
        bodies.parse(body, content_type)
    assert error.value.code == code


def test_CP_01_an_alias_bomb_is_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(ApiError, match="alias"):
        bodies.parse("\n".join(lines).encode(), "application/yaml")


def test_CP_01_deep_nesting_is_refused() -> None:
    data: object = 1
    for _ in range(200):
        data = {"a": data}
    with pytest.raises(ApiError, match="nested deeper than 100"):
        bodies.resource(MAP, {"data": data})


def test_null_is_absent_as_for_go() -> None:
    one, warnings = bodies.resource(MAP, {"metadata": {"name": "a", "creationTimestamp": None}, "data": None}, "Strict")
    assert one == core.ConfigMap(metadata=ObjectMeta(name="a"))
    assert warnings == []


def test_every_mistake_is_named() -> None:
    data = {"spec": {"template": {"spec": {"containers": [{"imagee": "x"}], "timeoutSeconds": "soon"}}, "trafic": []}}
    with pytest.raises(ApiError) as error:
        bodies.resource(SERVICE, data, "Strict")
    message = str(error.value)
    assert message.startswith('Service in version "v1" cannot be handled as a Service: strict decoding error: ')
    assert 'unknown field "spec.template.spec.containers[0].imagee"; did you mean "image"?' in message
    assert 'unknown field "spec.trafic"; did you mean "traffic"?' in message
    assert "spec.template.spec.timeoutSeconds: expected an integer" in message


def test_unknown_fields_are_warned_about_or_dropped_silently() -> None:
    data = {"metadata": {"name": "a"}, "dataa": {}}
    one, warnings = bodies.resource(MAP, data, "Warn")
    assert one == core.ConfigMap(metadata=ObjectMeta(name="a"))
    assert warnings == ['unknown field "dataa"; did you mean "data"?']
    assert bodies.resource(MAP, data, "Ignore")[1] == []


@pytest.mark.parametrize("validation", ["Strict", "Warn", "Ignore"])
def test_a_filter_that_is_not_understood_does_not_become_every_event(validation: str) -> None:
    trigger = BY_KIND["eventing.knative.dev", "Trigger"]
    with pytest.raises(ApiError, match=r'unknown field "spec\.filter\.expression"'):
        bodies.resource(trigger, {"spec": {"filter": {"expression": "x"}}}, validation)


def test_another_kind_than_the_address_says_is_refused() -> None:
    for data in ({"kind": "Secret"}, {"apiVersion": "v2"}, {"apiVersion": ["v1"]}):
        with pytest.raises(ApiError, match="does not match the expected type"):
            bodies.resource(MAP, data)
    with pytest.raises(ApiError, match="not an object"):
        bodies.resource(MAP, [])


def test_values_of_secrets_are_not_in_messages() -> None:
    with pytest.raises(ApiError) as error:
        bodies.resource(SECRET, {"data": {"password": ["hunter2"]}, "stringData": "hunter2"})
    assert "hunter2" not in str(error.value)


def test_plain_is_what_a_client_would_have_sent() -> None:
    one = core.Pod(spec=core.PodSpec(containers=(core.Container(name="a", args=("x",)),)))
    assert bodies.plain(one)["spec"] == {"containers": [{"name": "a", "args": ["x"]}]}
