"""What a container's variables are."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubelet.environment import contract, environment, expand
from controlplane.kubelet.references import References
from controlplane.kubelet.refusal import NotRunnable
from dataplane.resources.core import (
    ConfigMap,
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    EnvVarSourceRef,
    LocalObjectReference,
    Pod,
    PodSpec,
    ResourceRequirements,
    Secret,
)
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.volumes import ObjectFieldSelector, ResourceFieldSelector

META = ObjectMeta(
    name="pod-1",
    namespace="ns",
    uid="u-1",
    labels={"serving.knative.dev/revision": "r", "serving.knative.dev/configuration": "c", "app": "x"},
    annotations={"note": "hi"},
)
STORE = {
    ("ConfigMap", "cm"): ConfigMap(data={"A": "from-cm", "with=equals": "no", "": "no"}),
    ("Secret", "s"): Secret(data={"P": base64.b64encode(b"\xffpw").decode()}),
}


def refs(container: Container | None = None) -> References:
    pod = Pod(metadata=META, spec=PodSpec(containers=(container,) if container else ()))
    return References(pod, lambda key: STORE.get((key.kind, key.name)))


def env_of(container: Container) -> dict[str, str]:
    return environment(container, refs(container), base={"PATH": "/bin"}, fixed={"PORT": "1234"})


def source(**kwargs) -> EnvVarSource:
    return EnvVarSource(**kwargs)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)$(B)y", "x12y"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(MISSING)", "$(MISSING)"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("$()", "$()"),
        ("$$", "$"),
    ],
)
def test_references_expand_as_in_kubernetes(text, result):
    assert expand(text, {"A": "1", "B": "2"}) == result


@given(st.text())
def test_what_is_expanded_is_not_expanded_again(value):
    assert expand("$(A)", {"A": value, "B": "no"}) == value


def test_order_is_base_then_env_from_then_env_then_what_is_fixed():
    container = Container(
        env_from=(
            EnvFromSource(config_map_ref=LocalObjectReference(name="cm")),
            EnvFromSource(prefix="S_", secret_ref=LocalObjectReference(name="s")),
        ),
        env=(EnvVar(name="B", value="$(A)+$(PORT)"), EnvVar(name="PORT", value="9"), EnvVar(name="PATH", value="/x")),
    )
    assert env_of(container) == {
        "PATH": "/x",
        "A": "from-cm",
        "S_P": b"\xffpw".decode("utf-8", "surrogateescape"),
        "B": "from-cm+1234",
        "PORT": "1234",
    }


def test_every_container_of_a_revision_has_the_contract_variables():
    assert contract(Pod(metadata=META)) == {"K_SERVICE": "", "K_CONFIGURATION": "c", "K_REVISION": "r"}
    assert contract(Pod()) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "pod-1"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['note']", "hi"),
        ("metadata.annotations", 'note="hi"'),
        ("status.podIP", "127.0.0.1"),
        ("spec.serviceAccountName", "default"),
    ],
)
def test_the_downward_api_tells_about_the_pod(path, value):
    var = EnvVar(name="X", value_from=source(field_ref=ObjectFieldSelector(field_path=path)))
    assert env_of(Container(env=(var,)))["X"] == value


@pytest.mark.parametrize(("divisor", "value"), [("", "67108864"), ("1Mi", "64"), ("1Gi", "1")])
def test_resources_are_told_in_units_of_the_divisor_rounded_up(divisor, value):
    ref = ResourceFieldSelector(resource="limits.memory", divisor=divisor)
    container = Container(
        name="c",
        resources=ResourceRequirements(limits={"memory": "64Mi"}),
        env=(EnvVar(name="X", value_from=source(resource_field_ref=ref)),),
    )
    assert env_of(container)["X"] == value


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"config_map_key_ref": EnvVarSourceRef(name="no", key="k")}, 'configmap "no" not found'),
        ({"config_map_key_ref": EnvVarSourceRef(name="cm", key="k")}, "couldn't find key k in ConfigMap ns/cm"),
        ({"secret_key_ref": EnvVarSourceRef(name="no", key="k")}, 'secret "no" not found'),
        ({"secret_key_ref": EnvVarSourceRef(name="s", key="k")}, "couldn't find key k in Secret ns/s"),
        ({"field_ref": ObjectFieldSelector(field_path="spec.secrets")}, "unsupported fieldPath: spec.secrets"),
    ],
)
def test_what_is_missing_is_named_and_no_value_is(reference, message):
    with pytest.raises(NotRunnable) as why:
        env_of(Container(env=(EnvVar(name="X", value_from=source(**reference)),)))
    assert (why.value.reason, why.value.message) == ("CreateContainerConfigError", message)


def test_what_is_optional_may_be_missing():
    optional = EnvVarSourceRef(name="no", key="k", optional=True)
    container = Container(
        env=(
            EnvVar(name="X", value_from=source(config_map_key_ref=optional)),
            EnvVar(name="Y", value_from=source(secret_key_ref=optional)),
        ),
        env_from=(EnvFromSource(config_map_ref=LocalObjectReference(name="no", optional=True)),),
    )
    assert set(env_of(container)) == {"PATH", "PORT"}
