"""YAML as Kubernetes' tools read it, with places, and safe (ecosystem §1.6, CP-01)."""

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane import yaml_text
from controlplane.yaml_scalars import resolve
from controlplane.yaml_text import documents


def value(text):
    found, faults = documents(text)
    assert faults == []
    return found[0].value if found else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True), ("On", True), ("y", True), ("true", True), ("no", False), ("OFF", False), ("N", False),
        ("null", None), ("~", None), ("", None),
        ("2024-01-02", "2024-01-02"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("1:30", "1:30"), ("190:20:30", "190:20:30"),
        ("1e3", 1000.0), ("1.5e-2", 0.015), (".5", 0.5), ("1.", 1.0), ("80.0", 80.0),
        ("123", 123), ("+1", 1), ("-12", -12), ("1_000", 1000), ("0x1F", 31), ("-0x10", -16), ("0b11", 3),
        ("0123", 83), ("0o17", 15), ("08", 8.0), ("0", 0), ("9" * 30, 1e30), ("9" * 81, "9" * 81), (str(2**64 - 1), 2**64 - 1),
        ("1.2.3", "1.2.3"), ("100m", "100m"), ("1e", "1e"), ("-", "-"), (".", "."), ("0x", "0x"), ("1e999", "1e999"),
        ("<<", "<<"), ("=", "="), ("yEs", "yEs"), ("tRUE", "tRUE"),
    ],
)  # fmt: skip
def test_plain_scalars(text, expected):
    out = resolve(text)
    assert out == expected
    assert type(out) is type(expected)


def test_quoted_and_block_scalars_are_strings():
    assert value('a: "yes"\nb: \'1\'\nc: |\n  1\nd: !!str 1\ne: ! 1\n') == {
        "a": "yes", "b": "1", "c": "1\n", "d": "1", "e": 1,
    }  # fmt: skip


def test_keys_become_strings():
    assert value("1: a\n1.5: d\nyes: e\n'x': f\n") == {"1": "a", "1.5": "d", "true": "e", "x": "f"}


def test_documents_are_split_and_empty_ones_skipped():
    found, faults = documents("---\n# only a comment\n---\na: 1\n---\n---\nb: 2\n...\n")
    assert not faults
    assert [document.value for document in found] == [{"a": 1}, {"b": 2}]
    assert [document.place.line for document in found] == [4, 7]


def test_a_broken_document_does_not_hide_the_mistakes_of_the_next():
    found, faults = documents("a: [\n---\nb: 1\n---\nc: {\n---\nd: 1\nd: 2\n")
    assert [document.value for document in found] == [{"b": 1}]
    assert [fault.line for fault in faults] == [2, 6, 8]


def test_places_are_of_keys_and_of_items():
    (document,), _ = documents("spec:\n  containers:\n    - image: x\n      env: [a, b]\n  'quoted key': 1\n")
    place = document.place

    def at(path):
        found = place.find(path)
        return (found.line, found.column)

    assert at("spec") == (1, 1)
    assert at("spec.containers") == (2, 3)
    assert at("spec.containers[0]") == (3, 7)
    assert at("spec.containers[0].image") == (3, 7)
    assert at("spec.containers[0].env[1]") == (4, 16)
    assert at("spec.quoted key") == (5, 3)


def test_the_nearest_ancestor_stands_for_what_is_missing():
    (document,), _ = documents("a:\n  b:\n    - c: 1\n")
    find = document.place.find
    assert (find("a.b[0].x.y").line, find("a.b[7]").line, find("a.z").line, find("q").line) == (3, 2, 1, 1)
    assert find("a.b[*].ports").line == 2
    assert find("").line == 1


def test_keys_with_dots_are_found_whole_and_by_bracket():
    (document,), _ = documents("annotations:\n  x: 1\n  a.b/c: 2\n  a: {b/c: 3}\n")
    assert document.place.find("annotations.a.b/c").line == 3
    assert document.place.find("annotations[a.b/c]").line == 3
    assert document.place.find("annotations.a").line == 4


def test_a_duplicate_key_is_refused_with_both_lines():
    found, faults = documents("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert found == []
    assert [(fault.line, fault.column, fault.message) for fault in faults] == [
        (4, 3, "duplicate key 'c', the first is in line 3"),
        (5, 1, "duplicate key 'a', the first is in line 1"),
    ]


def test_anchors_aliases_and_merges():
    text = "base: &b {x: 1, z: 2}\nuse: *b\nmore:\n  <<: *b\n  z: 3\nboth:\n  <<: [*b, {w: 9}]\n"
    assert value(text) == {
        "base": {"x": 1, "z": 2}, "use": {"x": 1, "z": 2}, "more": {"x": 1, "z": 3}, "both": {"x": 1, "z": 2, "w": 9},
    }  # fmt: skip
    assert value("a: &x 1\nb: *x\nc: [*x, *x]") == {"a": 1, "b": 1, "c": [1, 1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *nope", "the alias *nope has no anchor"),
        ("a: &x [*x]", "the alias *x contains itself"),
        ("<<: 1", "a merge (<<) takes a mapping or a list of mappings"),
        ("a: !!python/object/apply:os.system [ls]", "is not allowed"),
        ("a: !include x", "is not allowed"),
        ("a: !!int x", "'x' is no int"),
        ("? [a]\n: b", "a key must be a string"),
        ("~: b", "a key must be a string"),
        ("a:\n\t- b", "(YAML is indented with spaces)"),
        ("a: b: c", "mapping values are not allowed in this context"),
        ("a: \x07", "control characters are not allowed"),
    ],
)
def test_what_is_refused(text, message):
    found, faults = documents(text)
    assert found == []
    assert message in faults[0].message
    assert faults[0].line >= 1


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)
HOSTILE = {
    "billion_laughs": LAUGHS,
    "merged_laughs": "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: *a{i - 1}}}\n" for i in range(1, 2000)),
    "deep_flow": "[" * 1_500_000,
    "deep_maps": "{a: " * 380_000,
    "deep_block": "- " * 750_000,
    "deep_keys": "? " * 750_000,
    "many_scalars": "[" + "1," * 750_000 + "1]",
    "many_keys": "".join(f"a{index}: 1\n" for index in range(140_000)),
    "many_documents": "--- a\n" * 250_000,
    "empty_documents": "---\n" * 390_000,
    "blank_lines": "\n" * 1_500_000 + "a",
    "directives": "%TAG !a! b\n" * 130_000,
    "duplicates": "a: 1\n" * 300_000,
    "aliases": "".join(f"k{i}: &a{i} *a{i - 1}\n" for i in range(50_000)),
    "anchors": "".join(f"k{i}: &a{i} 1\n" for i in range(70_000)),
    "digits": "a: " + "1" * 1_500_000,
    "quotes": "'" * 1_500_000,
    "tags": "!" * 1_500_000,
    "colons": ": " * 750_000,
    "one_block": "a: |\n" + "  x\n" * 370_000,
    "long_key": "x" * 1_500_000 + ": 1",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_CP_01_hostile_text_is_read_or_refused_in_linear_time(name):
    text = HOSTILE[name][: yaml_text.TEXT_BYTES_MAX]
    start = time.process_time()
    found, faults = documents(text)
    assert time.process_time() - start < 4, "about 1 s on a quiet machine; quadratic would take minutes"
    assert len(found) + len(faults) <= 20_200


def test_CP_01_a_text_over_the_limit_is_not_even_parsed():
    for text in ("x" * (yaml_text.TEXT_BYTES_MAX + 1), "é" * (yaml_text.TEXT_BYTES_MAX // 2 + 1)):
        found, faults = documents(text)
        assert found == []
        assert "1.5 MiB" in faults[0].message


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200)
@given(PLAIN.filter(lambda data: data is not None))
def test_json_reads_as_json(data):
    """YAML is a superset of JSON but for surrogate pairs."""
    found, faults = documents(json.dumps(data))
    if not faults:
        assert found[0].value == data


@settings(max_examples=200)
@given(st.dictionaries(st.text(min_size=1, max_size=8), PLAIN, min_size=1, max_size=4))
def test_what_pyyaml_writes_with_quotes_reads_back(data):
    found, faults = documents(yaml.safe_dump(data, default_style='"', allow_unicode=False))
    if not faults:
        assert found[0].value.keys() == data.keys()


@settings(max_examples=300)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%#,?\n \t~01", max_size=60))
def test_no_text_makes_it_raise(text):
    found, faults = documents(text)
    for document in found:
        assert document.value is not None
    for fault in faults:
        assert fault.line >= 1
        assert fault.column >= 1


def test_a_few_directives_belong_to_the_document_after_them():
    found, faults = documents("%YAML 1.1\n# why not\n\n---\na: 1\n---\nb: 2\n")
    assert faults == []
    assert [(document.value, document.place.line) for document in found] == [({"a": 1}, 5), ({"b": 2}, 7)]
