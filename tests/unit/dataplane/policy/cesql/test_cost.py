"""What an expression may cost is told before it is evaluated, and beyond the bound it is not."""

import pytest

from dataplane.policy.budget import TooCostly
from dataplane.policy.cesql import cost
from dataplane.policy.cesql.compile import compile_expression
from dataplane.policy.cesql.lex import ParseFault
from dataplane.policy.cesql.parse import parse
from dataplane.policy.filters import compile_filters, mistakes, warnings
from dataplane.wire.cloudevents import Event


def event(**attributes: str) -> Event:
    return Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **attributes})


@pytest.mark.parametrize(
    "text",
    [
        "type = 'a' AND source LIKE '%/orders/%' AND NOT EXISTS draft",
        " OR ".join(f"type = 'com.example.{n}'" for n in range(1800)),
        " OR ".join(f"type LIKE 'com.example.{n}.%'" for n in range(1800)),
        "type IN (" + ", ".join(f"'com.example.{n}'" for n in range(3000)) + ")",
        "subject LIKE '%" + "a%" * 20_000 + "b'",
        "subject LIKE '%a____b%' AND LOWER(subject) = 'x' AND sequence > 5",
        " OR ".join(f"LOWER(TRIM(subject)) = '{n}'" for n in range(10)),
    ],
)
def test_what_people_write_is_evaluated_for_every_event(text):
    expression = compile_expression(text)
    assert expression.warnings == ()
    expression.matches(event(subject="a" * 64_000))


HOSTILE = {
    "one long piece": "x LIKE '%" + "_" * 30_000 + "b%'",
    "many pieces": " OR ".join(["x LIKE '%a" + "_" * 60 + "b%'"] * 800),
    "many searches": " OR ".join(["x LIKE '%ab%'"] * 3600),
    "in another case": " OR ".join(["LOWER(x) = 'a'"] * 3600),
    "in another case, nested": " OR ".join(["UPPER(" * 60 + "x" + ")" * 60 + " = 'a'"] * 100),
    "white space": " OR ".join(["TRIM(x) = 'a'"] * 3600),
    "numbers": " OR ".join(["x > 1"] * 7200),
    "negated numbers": " OR ".join(["-x = 1"] * 5000),
    "sums": " OR ".join(["x + 1 = 1"] * 5000),
    "booleans": " XOR ".join(["x"] * 9000),
    "equality": " OR ".join(["x = id"] * 6500),
    "a list": " OR ".join(["x IN (id)"] * 5000),
    "concatenation": " OR ".join(["CONCAT(x, x) = 'a'"] * 2600),
    "joining": " OR ".join(["CONCAT_WS(x, x, x) = 'a'"] * 2300),
    "a text that grows": "LENGTH(" + "LOWER(" * 50 + "CONCAT(" + ", ".join(["x"] * 1000) + ")" + ")" * 50 + ") = 1",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_could_hold_up_a_broker_is_not_evaluated_for_a_large_attribute(text):
    expression = compile_expression(text)
    longest = cost.attribute_chars_max(parse(text))
    assert longest is not None
    assert 0 < longest < 64 * 1024
    assert f"more than {longest} characters" in expression.warnings[-1] or longest >= cost.UNUSUAL_CHARS
    for it in (expression.matches, expression.evaluate):
        with pytest.raises(TooCostly):
            it(event(x="a" * (longest + 1)))
    expression.matches(event(x="a" * longest))
    expression.matches(event(unread="a" * 64_000))


@pytest.mark.parametrize(
    "around",
    [
        lambda costly: [{"not": costly}],
        lambda costly: [{"any": [costly, {"exact": {"type": "t"}}]}],
        lambda costly: [{"not": {"all": [costly, {"exact": {"type": "other"}}]}}],
        lambda costly: [{"exact": {"type": "t"}}, {"not": {"any": [{"not": costly}]}}],
    ],
)
def test_nothing_around_it_makes_it_match(around):
    filters = around({"cesql": HOSTILE["one long piece"]})
    with pytest.raises(TooCostly):
        compile_filters(filters).matches(event(x="a" * 10_000))


def test_the_author_is_told():
    filters = [{"cesql": HOSTILE["one long piece"]}]
    assert mistakes(filters, "spec.filters") == []
    [(path, sentence)] = warnings(filters, "spec.filters")
    assert path == "spec.filters[0].cesql"
    assert sentence == (
        "it does not match an event that has more than 256 characters in an attribute it reads: that could take too long"
    )


def test_what_is_too_long_for_any_event_is_refused():
    constant = "CONCAT(" + ", ".join(["'" + "x" * 500 + "'"] * 100) + ")"
    text = "LENGTH(" + "LOWER(" * 40 + constant + ")" * 40 + ") = 1"
    with pytest.raises(ParseFault, match="too long for any event"):
        compile_expression(text)


def test_the_expressions_of_a_trigger_share_what_one_alone_may_take():
    alone = {"cesql": "x LIKE '%a" + "_" * 100 + "b%'"}
    large = event(x="a" * 60_000)
    assert not compile_filters([alone]).matches(large)
    with pytest.raises(TooCostly):
        compile_filters([{"any": [alone] * 500}]).matches(large)
    many = [{"any": [{"cesql": f"type LIKE '%{n}%'"} for n in range(100)]}]
    assert warnings(many, "filters") == ()
