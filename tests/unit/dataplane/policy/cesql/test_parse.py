import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.policy.cesql import ast
from dataplane.policy.cesql.compile import compile_expression
from dataplane.policy.cesql.lex import TEXT_CHARS_MAX, ParseFault
from dataplane.policy.cesql.parse import DEPTH_MAX, parse
from dataplane.wire.cloudevents import Event


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at character 1: an expression is missing"),
        ("type =", "at character 7: a value, an attribute's name or a function expected, found the end"),
        ("4-1", "at character 2: .* found -1; a sign belongs to the digits behind it: write `- 1`"),
        ("hop -1", "at character 5: .*write `- 1`"),
        ("x LIKE 123", "at character 8: a pattern in quotes behind LIKE expected, found 123"),
        ("x IN ()", "at character 7: a value: a list behind IN has at least one expected"),
        ("x IN y", "at character 6: a list in parentheses behind IN expected, found y"),
        ("type = 'abc", "at character 8: the string that begins here has no closing '"),
        ("2147483648", "at character 1: 2147483648 is no Integer: they go from -2147483648 to 2147483647"),
        ("my_ext = 1", "at character 8: `\\(` behind the function my_ext expected"),
        ("a == b", "at character 4: .*found ="),
        ("a && b", "at character 3: unexpected '&'; write AND or OR"),
        ("!a", "at character 1: unexpected '!'; negation is NOT"),
        ("EXISTS 'a'", "at character 8: an attribute's name behind EXISTS expected"),
        ("ABC(", "at character 5"),
        ("ABC(1", "at character 6: `,` or `\\)` expected"),
        ("(a", "at character 3: .*`\\)` expected"),
        ("a)", "at character 2"),
        ("f1(2)", "at character 1: f1 is no function"),
        ("EXISTS in", "in cannot be an attribute's name, it is a keyword"),
        ("a, b", "at character 2"),
    ],
)
def test_an_error_says_where_and_what_would_be_right(text, message):
    with pytest.raises(ParseFault, match=message):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 10_000, "NOT " * 10_000 + "TRUE", "- " * 10_000 + "1", "F(" * 10_000,
                                  "1" + " + 1" * 10_000, "x" + " LIKE 'a'" * 5000])  # fmt: skip
def test_depth_is_bounded_with_a_clear_error(text):
    with pytest.raises(ParseFault, match=f"nested more than {DEPTH_MAX} levels deep"):
        parse(text)


def test_what_is_just_deep_enough_can_be_evaluated():
    text = "1 = 1 + 1 * (" * (DEPTH_MAX // 3 - 1) + "1" + ")" * (DEPTH_MAX // 3 - 1)
    compile_expression(text).evaluate(Event(attributes={}))


def test_a_long_list_of_alternatives_is_not_deep():
    text = " OR ".join(f"type = 'event-{n}'" for n in range(2500))
    expression = compile_expression(text)
    assert expression.matches(Event(attributes={"type": "event-2499"}))
    assert not expression.matches(Event(attributes={"type": "event"}))


def test_length_is_bounded():
    with pytest.raises(ParseFault, match="at most 65536 characters"):
        parse("'" + "a" * TEXT_CHARS_MAX + "'")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a\\'b'", "a'b"),
        ('"a\\"b"', 'a"b'),
        ("'a\\\"b'", 'a\\"b'),
        ("'a''b'", "a''b"),
        ("'a\\\\'", "a\\\\"),
        ("007", 7),
        ("+3", 3),
    ],
)
def test_literal(text, value):
    assert parse(text) == ast.Constant(at=0, value=value)


def test_a_name_may_begin_with_digits():
    assert parse("123ABC") == ast.Attribute(at=0, name="123abc")


@given(st.text(alphabet="aT1 '\"\\=<>()+-*/%,_!\n") | st.text())
def test_any_text_is_an_expression_or_a_clear_error(text):
    try:
        expression = compile_expression(text)
    except ParseFault as fault:
        assert str(fault).startswith("at character ")
    else:
        expression.evaluate(Event(attributes={"a": "1", "id": "1"}))


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("a = 1 AND b = 2 OR c = 3", "at character 1: AND and OR bind alike"),
        ("NOT a = b", "at character 1: this is (NOT …) = …"),
        ("NOT a LIKE 'x'", "write … NOT LIKE …"),
        ("id = LENGHT(type)", "there is no function LENGHT with 1 arguments"),
    ],
)
def test_lint(text, warning):
    assert any(warning in found for found in compile_expression(text).warnings)


@pytest.mark.parametrize(
    "text", ["a = 1 AND (b = 2 OR c = 3)", "a AND b AND c", "NOT EXISTS a OR a != 'x'", "LENGTH(a) = 1"]
)
def test_lint_is_silent_about(text):
    assert compile_expression(text).warnings == ()
