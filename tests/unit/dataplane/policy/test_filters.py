import sys

import pytest

from dataplane.policy import cel
from dataplane.policy.filters import (
    DEPTH_MAX,
    FILTERS_MAX,
    FilterFault,
    attribute_mistakes,
    compile_filters,
    mistakes,
    warnings,
)
from dataplane.wire.cloudevents import Event

TYPE, SOURCE = "com.shop.order.created", "https://shop.example/orders"


def event(data: bytes | None = None, /, typed: dict | None = None, **attributes: str) -> Event:
    given = {"specversion": "1.0", "id": "1", "source": SOURCE, "type": TYPE, **attributes}
    return Event(attributes=given, data=data, typed=typed or {})


def matches(*filters: dict, given: Event | None = None) -> bool:
    return compile_filters(filters).matches(given or event())


# The acceptance matrix of Knative's "New Trigger Filters" (spec §8.10); tests/integration/broker asks it over sockets.
MATRIX = [
    pytest.param(filters, attributes, wanted, id=name)
    for name, filters, attributes, wanted in [
        ("exact", [{"exact": {"type": TYPE, "source": SOURCE}}], {}, True),
        ("exact, other type", [{"exact": {"type": TYPE, "source": SOURCE}}], {"type": "other"}, False),
        ("exact, other case", [{"exact": {"type": TYPE}}], {"type": TYPE.upper()}, False),
        ("prefix", [{"prefix": {"type": "com.shop.", "source": "https://"}}], {}, True),
        ("prefix, one of two", [{"prefix": {"type": "com.shop.", "source": "http://"}}], {}, False),
        ("suffix", [{"suffix": {"type": ".created", "source": "/orders"}}], {}, True),
        ("suffix, one of two", [{"suffix": {"type": ".created", "source": "/carts"}}], {}, False),
        ("cesql", [{"cesql": f"type = '{TYPE}' AND source = '{SOURCE}'"}], {}, True),
        ("cesql, other", [{"cesql": f"type = '{TYPE}' AND source = 'x'"}], {}, False),
        ("sql", [{"sql": "type LIKE '%order%'"}], {}, True),
        (
            "all of four",
            [
                {
                    "all": [
                        {"exact": {"type": TYPE}},
                        {"prefix": {"type": "com."}},
                        {"suffix": {"source": "orders"}},
                        {"cesql": "type LIKE '%created'"},
                    ]
                }
            ],
            {},
            True,
        ),
        ("all, one does not", [{"all": [{"exact": {"type": TYPE}}, {"prefix": {"type": "org."}}]}], {}, False),
        (
            "any, the last",
            [
                {
                    "any": [
                        {"exact": {"type": "other"}},
                        {"prefix": {"type": "org."}},
                        {"suffix": {"type": ".deleted"}},
                        {"not": {"cesql": "type LIKE '%shop.order%'"}},
                        {"cesql": f"type = '{TYPE}'"},
                    ]
                }
            ],
            {},
            True,
        ),
        ("any of exact, none", [{"any": [{"exact": {"type": t}} for t in "abc"]}], {}, False),
        ("any of exact, the third", [{"any": [{"exact": {"type": t}} for t in "abc"]}], {"type": "c"}, True),
        ("not", [{"not": {"exact": {"type": "other"}}}], {}, True),
        ("not not", [{"not": {"not": {"exact": {"type": TYPE}}}}], {}, True),
        ("missing, exact", [{"exact": {"ext": "x"}}], {}, False),
        ("missing, prefix", [{"prefix": {"ext": "x"}}], {}, False),
        ("missing, suffix", [{"suffix": {"ext": "x"}}], {}, False),
        ("missing, all", [{"all": [{"exact": {"ext": "x"}}]}], {}, False),
        ("missing, any", [{"any": [{"exact": {"ext": "x"}}]}], {}, False),
        ("missing, cesql", [{"cesql": "ext = 'x'"}], {}, False),
        ("missing, cesql !=", [{"cesql": "ext != 'x'"}], {}, False),
        ("missing, not", [{"not": {"exact": {"ext": "x"}}}], {}, True),
        ("several are all", [{"exact": {"type": TYPE}}, {"suffix": {"source": "nowhere"}}], {}, False),
        ("none at all", [], {}, True),
        ("cesql that is no Boolean", [{"cesql": "1"}], {}, False),
        ("not of a cesql that fails", [{"not": {"cesql": "1 / 0 = 1"}}], {}, True),
        ("attributes", [{"attributes": {"type": TYPE}}], {}, True),
        ("attributes, any value", [{"attributes": {"ext": ""}}], {"ext": "x"}, True),
        ("attributes, any value, missing", [{"attributes": {"ext": ""}}], {}, False),
        ("attributes, none", [{"attributes": {}}], {}, True),
    ]
]


@pytest.mark.parametrize(("filters", "attributes", "wanted"), MATRIX)
def test_matrix(filters, attributes, wanted):
    assert matches(*filters, given=event(**attributes)) is wanted


def test_a_number_is_compared_as_the_text_it_stands_for():
    assert matches({"exact": {"n": "5"}}, given=event(n="5", typed={"n": 5}))


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        ("2026-01-01T12:00:00Z", "2026-01-01T13:00:00+01:00", True),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z", True),
        ("2026-01-01T12:00:00.000000001Z", "2026-01-01T12:00:00.000000002Z", False),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:01Z", False),
        ("soon", "soon", True),
        ("2026-01-01T12:00:00Z", "soon", False),
        ("2026-99-01T12:00:00Z", "2026-99-01T12:00:00Z", True),
    ],
)
def test_time_is_the_same_as_written_or_as_an_instant(wanted, given, same):
    assert matches({"exact": {"time": wanted}}, given=event(time=given)) is same


def test_pseudo_attributes_of_knative():
    given = event(datacontenttype="Application/JSON; charset=utf-8", dataschema="urn:s")
    assert matches({"exact": {"datamediatype": "application/json", "schemaurl": "urn:s"}}, given=given)
    assert not matches({"exact": {"datamediatype": "application/json"}})


@pytest.mark.parametrize(
    ("filters", "interest"),
    [
        ([], None),
        ([{"exact": {"type": "a"}}], ("type", "a")),
        ([{"exact": {"subject": "s"}}, {"exact": {"source": "/x"}}], ("source", "/x")),
        ([{"prefix": {"type": "a"}}], None),
        ([{"all": [{"prefix": {"type": "a"}}, {"exact": {"type": "ab"}}]}], ("type", "ab")),
        ([{"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}]}], None),
        ([{"any": [{"exact": {"type": "a"}}, {"all": [{"exact": {"type": "a", "id": "1"}}]}]}], ("type", "a")),
        ([{"any": [{"exact": {"type": "a"}}, {"prefix": {"type": "b"}}]}], None),
        ([{"not": {"exact": {"type": "a"}}}], None),
        ([{"cesql": "type = 'a' AND id = '1'"}], ("type", "a")),
        ([{"attributes": {"type": "a"}}], ("type", "a")),
        ([{"attributes": {"type": ""}}], None),
    ],
)
def test_interest(filters, interest):
    assert compile_filters(filters).interest == interest


BAD = [
    ({}, "f[0]", "invalid value: {}"),
    ({"exact": {"type": "a"}, "prefix": {"type": "a"}}, "f[0]", "multiple dialects found, filters can have only one"),
    ({"exakt": {"type": "a"}}, "f[0].exakt", 'unknown filter dialect "exakt"'),
    ({"attributes": {"type": "a"}}, "f[0].attributes", "unknown filter dialect"),
    ({"exact": {}}, "f[0].exact", "invalid value: {}"),
    ({"exact": {"type": ""}}, "f[0].exact.type", 'invalid value: ""'),
    ({"exact": {"Type": "a"}}, "f[0].exact", 'invalid key name "Type"'),
    ({"exact": {"1st": "a"}}, "f[0].exact", 'invalid key name "1st"'),
    ({"exact": {"n": 5}}, "f[0].exact.n", "invalid value: 5"),
    ({"exact": "type"}, "f[0].exact", "invalid value: type"),
    ({"prefix": {}}, "f[0].prefix", "invalid value: {}"),
    ({"suffix": None}, "f[0].suffix", "invalid value: None"),
    ({"all": []}, "f[0].all", "invalid value: []"),
    ({"any": []}, "f[0].any", "invalid value: []"),
    ({"any": {"exact": {}}}, "f[0].any", "invalid value"),
    ({"any": [{"exact": {"type": "a"}}, {}]}, "f[0].any[1]", "invalid value: {}"),
    ({"not": {}}, "f[0].not", "invalid value: {}"),
    ({"not": [{"exact": {"type": "a"}}]}, "f[0].not", "invalid value"),
    ({"cesql": ""}, "f[0].cesql", 'invalid value: ""'),
    ({"cesql": "type ="}, "f[0].cesql", "invalid value: type ="),
    ({"cesql": 5}, "f[0].cesql", "invalid value: 5"),
    ({"jsonpath": "total > 1"}, "f[0].jsonpath", "invalid value: total > 1"),
    ({"cel": "data."}, "f[0].cel", "invalid value: data."),
    ("exact", "f[0]", "invalid value: exact"),
]


@pytest.mark.parametrize(("filter_", "path", "message"), BAD)
def test_what_is_refused_at_admission_with_its_path(filter_, path, message):
    (found,) = mistakes([filter_], "f")
    assert found.path == path
    assert found.message.startswith(message)


@pytest.mark.parametrize("filter_", [bad for bad, _, message in BAD if "attributes" not in str(bad)])
def test_what_is_refused_cannot_be_compiled_either(filter_):
    with pytest.raises(FilterFault, match=r"filters\[0\]"):
        compile_filters([filter_])


def test_every_mistake_is_told():
    found = mistakes([{}, {"all": [{"exact": {"A": "x", "b": ""}}, {"nope": 1}]}], "spec.filters")
    assert [mistake.path for mistake in found] == [
        "spec.filters[0]",
        "spec.filters[1].all[0].exact",
        "spec.filters[1].all[0].exact.b",
        "spec.filters[1].all[1].nope",
    ]


def test_a_cesql_mistake_says_where_in_the_expression():
    (found,) = mistakes([{"cesql": "hop-1 = 2"}], "f")
    assert "at character 4" in found.details


def test_attribute_names_of_the_old_filter():
    (found,) = attribute_mistakes({"type": "a", "my-ext": "b", "ok1": ""}, "spec.filter.attributes")
    assert found == (
        "spec.filter.attributes",
        'invalid key name "my-ext"',
        "Attribute name must start with a letter and can only contain lowercase alphanumeric",
    )


def test_nesting_and_number_are_bounded():
    deep: dict = {"exact": {"type": "a"}}
    for _ in range(100_000):
        deep = {"not": deep}
    assert [m.message for m in mistakes([deep], "f")] == [f"filters nested more than {DEPTH_MAX} deep"]
    many = mistakes([{"any": [{"exact": {"type": "a"}}] * (FILTERS_MAX + 5)}], "f")
    assert [m.message for m in many] == [f"more than {FILTERS_MAX} filters"]


def test_warnings_have_their_path():
    ((path, sentence),) = warnings([{"not": {"cesql": "a = 1 AND b = 2 OR c = 3"}}], "spec.filters")
    assert path == "spec.filters[0].not.cesql"
    assert "write parentheses" in sentence


def test_without_the_engine_the_error_names_the_extra(monkeypatch):
    cel._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    (found,) = mistakes([{"cel": "true"}], "f")
    assert "pip install 'dataplane[cel]'" in found.details
    assert matches({"cesql": "TRUE"})  # everything else goes on
