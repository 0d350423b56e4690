import pytest

from launch.instance import Failure
from launch.names import full_name, kind_named, kinds_named, targets


@pytest.mark.parametrize(
    "word",
    ["ksvc", "kservice", "services", "service", "Services.serving.knative.dev", "services.v1.serving.knative.dev"],
)
def test_a_service_has_many_names(word: str) -> None:
    assert kind_named(word).kind == "Service"


def test_a_category_is_several_kinds() -> None:
    serving = ["Service", "Configuration", "Revision", "Route"]
    assert [kind.kind for kind in kinds_named("serving")] == serving
    assert [kind.kind for kind in kinds_named("knative")] == [*serving, "Broker", "Trigger"]
    with pytest.raises(Failure, match="means several kinds"):
        kind_named("all")


def test_targets_are_kinds_or_kinds_with_names() -> None:
    assert [(t.kind.kind, t.name) for t in targets(("ksvc,rev",))] == [("Service", ""), ("Revision", "")]
    assert [(t.kind.kind, t.name) for t in targets(("pod", "a", "b"))] == [("Pod", "a"), ("Pod", "b")]
    assert [(t.kind.kind, t.name) for t in targets(("ksvc/a", "cm/b"))] == [("Service", "a"), ("ConfigMap", "b")]
    with pytest.raises(Failure, match="not both"):
        targets(("ksvc/a", "b"))


def test_an_unknown_kind_is_told_the_near_one() -> None:
    with pytest.raises(Failure, match='no resource type "ksvcs"; did you mean "ksvc"'):
        targets(("ksvcs",))


def test_full_names_are_kubectls() -> None:
    assert full_name(kind_named("ksvc"), "a") == "service.serving.knative.dev/a"
    assert full_name(kind_named("pod"), "a") == "pod/a"
