import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.target import parse


@pytest.mark.parametrize(
    ("group", "version", "tail", "expected"),
    [
        ("", "v1", "pods", ("Pod", "", "", "")),
        ("", "v1", "namespaces/default/pods", ("Pod", "default", "", "")),
        ("", "v1", "namespaces/default/pods/p", ("Pod", "default", "p", "")),
        ("", "v1", "namespaces/default/pods/p/log", ("Pod", "default", "p", "log")),
        ("", "v1", "namespaces/default/pods/p/status", ("Pod", "default", "p", "status")),
        ("", "v1", "namespaces", ("Namespace", "", "", "")),
        ("", "v1", "namespaces/default", ("Namespace", "", "default", "")),
        ("", "v1", "namespaces/pods", ("Namespace", "", "pods", "")),
        ("serving.knative.dev", "v1", "namespaces/d/services/s", ("Service", "d", "s", "")),
        ("serving.knative.dev", "v1", "services", ("Service", "", "", "")),
    ],
)
def test_paths_name_kinds_collections_objects_and_parts(group, version, tail, expected) -> None:
    found = parse(group, version, tail)
    assert found is not None
    assert (found.kind.kind, found.namespace, found.name, found.subresource) == expected


@pytest.mark.parametrize(
    ("group", "version", "tail"),
    [
        ("", "v1", "services"),
        ("", "v2", "pods"),
        ("serving.knative.dev", "v1beta1", "services"),
        ("serving.knative.dev", "v1", "services/s"),
        ("serving.knative.dev", "v1", "namespaces/d/services/s/log"),
        ("", "v1", "namespaces/d/configmaps/c/status"),
        ("", "v1", "namespaces/d/pods/p/log/more"),
        ("", "v1", "namespaces//pods"),
        ("", "v1", "namespaces/d/namespaces/x"),
        ("", "v1", "nodes"),
        ("", "v1", ""),
    ],
)
def test_other_paths_name_nothing(group, version, tail) -> None:
    assert parse(group, version, tail) is None


@given(st.text(alphabet="namespaces/podsvx.%", max_size=40))
def test_no_path_raises(tail: str) -> None:
    parse("", "v1", tail)
