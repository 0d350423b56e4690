"""What a CEL filter may cost is told before the engine is asked: it bounds how often a loop goes round, not its work."""

import json

import pytest

from dataplane.policy.budget import STEPS_MAX, TooCostly
from dataplane.policy.cel import CelFault, compile_cel
from dataplane.policy.celcost import cost
from dataplane.policy.filters import compile_filters
from dataplane.wire.cloudevents import Event

pytest.importorskip("cel_expr_python")


def event(data: object, **attributes: str) -> Event:
    return Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes}, json.dumps(data).encode()
    )


LARGE = {"list": list(range(900)), "text": "a" * 100_000, "other": "a" * 99_999 + "b", "total": 7}


@pytest.mark.parametrize(
    "text",
    [
        "data.total >= 7",
        "data.text.contains('b') || data.text.size() > 5 || data.other.endsWith('b')",
        "event.type.matches('^(t|u)[a-z0-9-]{1,63}$|^t$') && data.list.all(n, event.type == 't' && n >= 0)",
        "data.list.exists(n, n > 3 && n < 5) && data.list.all(n, n != -1)",
        "data.list.exists(n, data.list.exists(m, n == 3 && m == 4))",
        " || ".join(["event.type.contains('x')"] * 300 + ["true"]),
        'data.text.startsWith("all(exists(") || true // exists(',
    ],
)
def test_what_people_ask_is_asked_of_large_data(text):
    assert compile_cel(text)(event(LARGE))


HOSTILE = {
    "a search in a loop": "data.list.exists(n, data.text.contains('ab'))",
    "in a loop in a loop": "data.list.exists(n, data.list.exists(m, data.text.contains('ab')))",
    "many searches": " || ".join(["data.text.contains('ab')"] * 500),
    "a text of the event in another": "(data.text + data.text).contains(data.other)",
    "a pattern": "data.list.exists(n, data.text.matches('(a+)+b'))",
    "a pattern of many states": "data.text.matches('[ab]*a[ab]{500}c')",
    "a pattern that repeats a group": "data.text.matches('([ab]*a[ab]{30}){10}c')",
    "how long is it": "data.list.exists(n, data.text.size() == 1)",
    "put together": "data.list.exists(n, data.text + data.other == data.text)",
    "put together more than once": f"size({' + '.join(['data.text'] * 14)}) == size({' + '.join(['data.text'] * 14)})",
    "texts compared": "data.list.exists(n, data.list.exists(m, data.text == data.other))",
    "lists compared": "data.list.all(n, data.list.all(m, data.list == data.list))",
    "lists searched": "data.list.all(n, data.list.all(m, -1 in data.list))",
    "lists put together": "data.list.all(n, data.list.all(m, size(data.list + data.list) > 0))",
    "lists written out": f"data.list.all(n, data.list.all(m, size([{', '.join(['n'] * 4000)}]) > 0))",
    "a key from the data": "data.list.exists(n, data[data.text] == 1)",
    "an attribute": "data.list.exists(n, event.large.contains('ab'))",
    "another thing named event": "data.list.exists(event, data.list.exists(n, event.large.contains('ab')))",
    "behind a comment": "data.list./* exists */exists(n, data.text.contains('ab'))".replace("/* exists */", "// (\n"),
    "a parenthesis in a text": "data.list.exists(n, ')' == '' || data.text.contains('ab'))",
    "a parenthesis in a raw text": r"data.list.exists(n, r'\d)' == '' || data.text.contains('ab'))",
    "a parenthesis in a long text": 'data.list.exists(n, """")""" == "" || data.text.contains("ab"))',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_could_hold_up_a_broker_is_not_evaluated(text):
    matches = compile_cel(text)
    with pytest.raises(TooCostly, match="values, the longest text has"):
        matches(event(LARGE, large="a" * 60_000))
    matches(event({"list": [1], "text": "a", "other": "b"}, large="a"))
    with pytest.raises(TooCostly):
        compile_filters([{"not": {"cel": text}}]).matches(event(LARGE, large="a" * 60_000))


@pytest.mark.parametrize(
    "text",
    ["data.a.matches(data.a)", "'b'.matches(data.a)", "matches(data.a, 'b')", "data.a.matches('a' + data.a)",
     "data.l.exists(x, 'a'.matches(x))", "data.a . matches // '\n (data.a)"],
)  # fmt: skip
def test_an_event_does_not_choose_the_pattern(text):
    with pytest.raises(CelFault, match="matches needs its pattern in quotes"):
        compile_cel(text)


def test_the_bound_is_the_budget():
    costs = cost("data.a.contains('x')")
    assert costs.steps(1, 1000, 1) < STEPS_MAX < costs.steps(1, 4_000_000, 1)
    assert cost("data.l.exists(n, data.a.contains('x'))").steps(900, 1000, 1) > 800 * costs.steps(900, 1000, 1)
