"""Filters that look inside the data: what counts as JSON, jsonpath, cel."""

import pytest

from dataplane.policy.body import BODY_BYTES_MAX, NOT_JSON, json_of
from dataplane.policy.bodypath import STEPS_PER_VALUE, PathFault, compile_path
from dataplane.policy.budget import TooCostly
from dataplane.policy.cel import VALUES_MAX, CelFault, compile_cel
from dataplane.wire.cloudevents import Event

ORDER = b'{"total": 120.5, "vip": true, "note": null, "items": [{"sku": "A-1", "n": 1}, {"sku": "B\'2", "n": 30}], "odd name": {"x": [[1, 2]]}}'


def event(data: bytes | None = ORDER, **attributes: str) -> Event:
    return Event(attributes={"id": "1", "type": "order", **attributes}, data=data)


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "Application/JSON; charset=utf-8", "text/json", "application/x+json"]
)
def test_is_json(content_type):
    assert json_of(event(b"[1]", datacontenttype=content_type)) == [1]


@pytest.mark.parametrize(
    "given",
    [
        event(None),
        event(b""),
        event(b"{"),
        event(b"[1]", datacontenttype="text/plain"),
        event(b"\xff"),
        event(b'{"x":"\xff"}'),
        event(b'{"x":"\\ud800"}'),
        event(b"[" * 100_000),
        event(b'"' + b"a" * BODY_BYTES_MAX + b'"'),
    ],
)
def test_is_no_json_and_matches_nothing(given):
    assert json_of(given) is NOT_JSON
    assert not compile_path("$")(given)
    assert not compile_cel("data.x == 1")(given)


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("$", True),
        ("$.total", True),
        ("$.note", True),
        ("$.nope", False),
        ("$.total >= 100", True),
        ("$.total > 120.5", False),
        ("$.total<121", True),
        ("$.vip == true", True),
        ("$.vip == 1", False),
        ("$.vip == 'true'", False),
        ("$.note == null", True),
        ("$.nope == null", False),
        ("$.nope != 1", False),
        ("$.total != 1", True),
        ("$.items[*].sku == 'A-1'", True),
        ('$.items[*].sku == "B\'2"', True),
        ("$.items[*].sku == 'B\\'2'", True),
        ("$.items[*].n > 40", False),
        ("$.items[0].n > 1", False),
        ("$.items[-1].n > 1", True),
        ("$.items[2]", False),
        ("$.items.sku", False),
        ("$['odd name'].x[0][1] == 2", True),
        ('$["odd name"].x.*.* == 2', True),
        ("$.total > 'a'", False),
        ("  $.total  ", True),
    ],
)
def test_path(path, matches):
    assert compile_path(path)(event()) is matches


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("total > 1", "begins with \\$"),
        ("$..total", "at character 2"),
        ("$.items[?(@.n > 1)]", "at character 8"),
        ("$.items[0:2]", "at character 8"),
        ("$.total >", "at character 8"),
        ("$.total = 1", "at character 8"),
        ("$.total == abc", "at character 12: 'abc' is no number, quoted string"),
        ("$.total == [1]", "at character 12"),
        ("$.vip > true", "> needs a number or a string"),
        ("$." + "a" * 5000, "at most"),
    ],
)
def test_a_path_that_cannot_be_read_says_where(path, message):
    with pytest.raises(PathFault, match=message):
        compile_path(path)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("data.total >= 100.0 && event.type == 'order'", True),
        ("data.items.exists(i, i.sku == 'A-1')", True),
        ("has(data.nope)", False),
        ("data.nope == 1", False),
        ("data.total", False),
        ("event.type", False),
    ],
)
def test_cel(text, matches):
    assert compile_cel(text)(event()) is matches


def test_cel_without_data_has_null_and_the_attributes():
    assert compile_cel("data == null && event.id == '1'")(event(None))


@pytest.mark.parametrize("text", ["data.", "nope == 1", "1 + 1", "(" * 5000 + "true" + ")" * 5000, "a" * 20_000])
def test_a_cel_expression_that_cannot_be_used_is_refused(text):
    with pytest.raises(CelFault):
        compile_cel(text)


def test_a_path_that_meets_too_many_values_is_not_followed():
    paths = [compile_path(text, 1000 * STEPS_PER_VALUE) for text in ("$[*]", "$[*] == 1", "$[0]", "$")]
    few, many = (event(b"[" + b",".join([b"1"] * count) + b"]") for count in (1000, 1001))
    assert [path(few) for path in paths] == [True] * 4
    for path in paths[:2]:
        with pytest.raises(TooCostly, match="more than 1000 values on the path"):
            path(many)
    assert paths[2](many)
    assert paths[3](many)
    assert compile_path("$[*][*] == 1")(event(b"[" + b",".join([b"[1]"] * 60_000) + b"]"))


def test_an_evaluation_that_would_take_for_ever_does_not_match():
    numbers = b"[" + b",".join(b"%d" % n for n in range(60)) + b"]"
    assert not compile_cel("data.all(a, data.all(b, data.all(c, a >= 0)))")(event(numbers))
    assert compile_cel("data.all(a, data.all(b, a >= 0))")(event(numbers))


@pytest.mark.parametrize(
    "data", [b"[%b]" % b",".join([b"1"] * VALUES_MAX), b'{"a":[%b]}' % b",".join([b"{}"] * (VALUES_MAX - 1))]
)
def test_data_of_many_values_is_not_looked_into(data):
    few, many = event(data), event(data.replace(b"[", b"[0,"))
    assert compile_cel("data != null")(few)
    with pytest.raises(TooCostly, match="more than 1000 values"):
        compile_cel("data != null")(many)
    assert compile_path("$")(many)


@pytest.mark.parametrize("text", ["data.map(a, a).size() > 0", "data.filter(a, a > 1).size() > 0"])
def test_lists_are_not_made(text):
    with pytest.raises(CelFault, match="there is no map and no filter here, exists and all say whether"):
        compile_cel(text)
