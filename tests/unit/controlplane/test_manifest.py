"""A manifest says all its mistakes at once, each with its place (CP-01, CP-02)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.knative_config import KnativeConfig
from controlplane.manifest import Where, check, key_of, load
from controlplane.store.contract import Key
from dataplane.resources.core import ConfigMap
from dataplane.resources.serving import Service

GOOD = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
spec:
  template:
    spec:
      containers:
        - image: ghcr.io/knative/helloworld-go:latest
          env:
            - name: TARGET
              value: "World"
"""


def mistakes(text, existing=lambda key: None):
    return [str(mistake) for mistake in check(load(text, "hello.yaml"), KnativeConfig(), existing)]


def test_a_good_manifest_has_objects_and_no_mistakes():
    manifest = load(GOOD, "hello.yaml")
    assert mistakes(GOOD) == []
    (parsed,) = manifest.objects
    assert isinstance(parsed.object, Service)
    assert parsed.where == Where("hello.yaml", 1, 1)
    assert str(parsed.locate("spec.template.spec.containers[0].image")) == "hello.yaml:9:11"
    assert key_of(parsed.object) == Key("serving.knative.dev", "Service", "default", "hello")


def test_CP_01_three_mistakes_give_three_errors_with_places_and_suggestions():
    text = GOOD.replace("- image:", "- imagee:").replace(
        "          env:", "          ports: [{containerPort: 8012}]\n          env:"
    )
    text += "  traffic:\n    - latestRevision: true\n      percent: 90\n"
    C = "spec.template.spec.containers[0]"
    assert mistakes(text) == [
        f'hello.yaml:9:11: {C}.imagee: unknown field; did you mean "image"?',
        f"hello.yaml:10:20: {C}.ports[0].containerPort: invalid value: 8012 is a reserved port "
        "(8012 is a reserved port, please use a different value)",
        "hello.yaml:14:3: spec.traffic: Traffic targets sum to 90, want 100",
    ]
    assert load(text, "x").objects == (), "nothing to apply"


def test_a_complaint_that_only_follows_from_a_wrong_type_is_not_made():
    text = GOOD + "  traffic:\n    - latestRevision: true\n      percent: ninety\n"
    assert mistakes(text) == ["hello.yaml:15:7: spec.traffic[0].percent: expected an integer, got a string"]


@pytest.mark.parametrize(
    ("head", "mistake"),
    [
        (
            "apiVersion: serving.knative.dev/v1\nkind: Servce\n",
            '2:1: kind: no matches for kind "Servce" in version "serving.knative.dev/v1"; did you mean "Service"?',
        ),
        (
            "apiVersion: serving.knative.dev/v2\nkind: Service\n",
            '1:1: apiVersion: no matches for kind "Service" in version "serving.knative.dev/v2"; '
            'did you mean "serving.knative.dev/v1"?',
        ),
        (
            "apiVersion: v1\nkind: Service\n",
            '1:1: apiVersion: no matches for kind "Service" in version "v1"; did you mean "serving.knative.dev/v1"?',
        ),
        (
            "apiVersion: example.com/v1\nkind: Confgmap\n",
            '2:1: kind: no matches for kind "Confgmap" in version "example.com/v1"; did you mean "v1 ConfigMap"?',
        ),
        ("apiVersion: apps/v1\nkind: Zebra\n", '2:1: kind: no matches for kind "Zebra" in version "apps/v1"'),
        ("kind: Service\n", "1:1: apiVersion: missing field"),
        ("apiVersion: 1\nkind: Service\n", "1:1: apiVersion: expected a string"),
        ("- a\n", "1:1: expected an object with apiVersion, kind and metadata"),
        ("just text", "1:1: expected an object with apiVersion, kind and metadata"),
    ],
)
def test_CP_01_a_kind_that_does_not_exist_names_the_one_that_was_meant(head, mistake):
    assert mistakes(head) == [f"hello.yaml:{mistake}"]


def test_CP_01_every_document_is_looked_at():
    text = f"{GOOD}---\na: [\n---\n{GOOD.replace('hello', 'Hello', 1)}---\napiVersion: v1\nkind: Nothing\n"
    said = mistakes(text)
    assert len(said) == 3
    assert said[0].startswith("hello.yaml:15:1: did not find expected node content")
    assert said[1].startswith("hello.yaml:19:3: metadata.name: not a DNS 1035 label: [")
    assert said[2].startswith("hello.yaml:30:1: kind: no matches for kind")


def test_CP_01_annotations_that_are_no_strings_are_refused_with_their_line():
    text = GOOD.replace("  name: hello\n", "  name: hello\n  annotations:\n    a: true\n    b: 2024-01-02\n    c: 1\n")
    assert mistakes(text) == [
        "hello.yaml:6:5: metadata.annotations.a: expected a string, got true; put it in quotes",
        "hello.yaml:8:5: metadata.annotations.c: expected a string, got a number; put it in quotes",
    ]


def test_an_error_of_validation_is_located_even_where_the_field_is_missing():
    text = GOOD.replace("image: ghcr.io/knative/helloworld-go:latest", "name: x")
    assert mistakes(text) == ["hello.yaml:9:11: spec.template.spec.containers[0].image: missing field(s)"]
    annotated = GOOD.replace(
        "  template:\n", "  template:\n    metadata:\n      annotations:\n        autoscaling.knative.dev/window: 5s\n"
    )
    assert mistakes(annotated) == [
        "hello.yaml:9:9: spec.template.metadata.annotations.autoscaling.knative.dev/window: expected 6s <= 5s <= 1h0m0s"
    ]


def test_one_message_in_two_places_is_two_mistakes():
    text = GOOD.replace(
        "        - image: ghcr", "        - {name: a, ports: [{containerPort: 80}]}\n        - image: ghcr"
    )
    text = text.replace("image: ghcr.io/knative/helloworld-go:latest", "name: b")
    assert [line.split(":")[1] for line in mistakes(text)] == ["9", "10"]


def test_lists_are_unpacked_with_the_places_of_their_items():
    text = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: {name}}}\n  dat: {{}}\n" for name in "ab"
    )
    assert mistakes(text) == [
        'hello.yaml:7:3: dat: unknown field; did you mean "data"?',
        'hello.yaml:11:3: dat: unknown field; did you mean "data"?',
    ]
    manifest = load(text.replace("  dat: {}\n", ""), "x")
    assert [parsed.object.metadata.name for parsed in manifest.objects] == ["a", "b"]
    listed = load("apiVersion: v1\nkind: ConfigMapList\nitems: []\n", "x")
    assert (listed.objects, listed.errors) == ((), ())


def test_json_is_read_too():
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a"},
        "data": {"smile": "😀", "tab": "\t", "nel": "\x85\u2028"},
    }
    for text in (
        json.dumps(body),
        json.dumps(body, indent="\t"),
        json.dumps(body, ensure_ascii=False),
    ):
        manifest = load(text, "a.json")
        assert manifest.errors == ()
        assert isinstance(manifest.objects[0].object, ConfigMap)
        assert manifest.objects[0].object.data == body["data"]
    broken = load('{"apiVersion": "v1", "kind": "ConfigMap", "kind": "Secret"}', "a.json")
    assert "duplicate key" in broken.errors[0].message


def test_the_same_object_twice_is_an_update_of_itself():
    """As in the Knative documentation's tag-header sample."""
    assert mistakes(f"{GOOD}---\n{GOOD.replace('World', 'Moon')}") == []
    named = GOOD.replace("  template:\n", "  template:\n    metadata: {name: hello-one}\n")
    (mistake,) = mistakes(f"{named}---\n{named.replace('World', 'Moon')}")
    assert mistake.startswith("hello.yaml:21:16: spec.template.metadata.name: Saw the following changes without")


def test_rules_about_changes_see_what_is_stored():
    text = GOOD.replace("  template:\n", "  template:\n    metadata: {name: hello-one}\n")
    stored = load(text.replace("World", "Moon"), "x").objects[0].object
    (mistake,) = mistakes(text, existing=lambda key: stored if key.name == "hello" else None)
    assert "Saw the following changes without a name change" in mistake
    assert mistake.startswith("hello.yaml:7:16: ")


def test_a_template_exported_by_kn_applies():
    text = GOOD.replace("  name: hello\n", "  name: hello\n  creationTimestamp: null\n") + "status: {}\n"
    text = text.replace("    spec:\n", "    metadata:\n      creationTimestamp: null\n    spec:\n")
    assert mistakes(text) == []


@settings(max_examples=100)
@given(st.integers(0, len(GOOD) - 1), st.text(alphabet="ab:-[]{}&*!|>'\"%#,?\n \t~01", max_size=3), st.integers(0, 5))
def test_any_small_damage_is_read_or_said(position, inserted, removed):
    text = GOOD[:position] + inserted + GOOD[position + removed :]
    for mistake in check(load(text, "x"), KnativeConfig(), lambda key: None):
        assert mistake.where.line >= 1
        assert mistake.message
