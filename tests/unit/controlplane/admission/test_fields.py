"""Which fields are set, and what differs between two structs."""

from controlplane.admission.fields import difference, set_fields
from dataplane.resources.core import Container, ContainerPort, EnvVar


def test_set_fields_have_their_wire_names():
    assert list(set_fields(Container(working_dir="/x", stdin_once=True))) == ["workingDir", "stdinOnce"]
    assert list(set_fields(ContainerPort(host_ip="1.2.3.4"), ("host_ip", "host_port"))) == ["hostIP"]
    assert list(set_fields(Container())) == []


def test_a_difference_names_each_changed_leaf():
    old = Container(image="helloworld:bar", env=(EnvVar(name="A", value="1"),))
    new = Container(image="helloworld:foo", env=(EnvVar(name="A", value="1"), EnvVar(name="B")))
    assert difference(old, new) == (
        'env[1]:\n\t-: <absent>\n\t+: {"name": "B"}\nimage:\n\t-: "helloworld:bar"\n\t+: "helloworld:foo"\n'
    )
    assert difference(new, old).startswith('env[1]:\n\t-: {"name": "B"}\n\t+: <absent>\n')
    assert difference(old, old) == ""


def test_a_giant_difference_is_cut():
    old = Container(env=tuple(EnvVar(name=f"N{i}", value="x" * 1000) for i in range(100)))
    new = Container(env=tuple(EnvVar(name=f"M{i}", value="y" * 1000) for i in range(100)))
    assert len(difference(old, new)) < 20_000
