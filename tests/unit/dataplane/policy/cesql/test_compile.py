"""What the specification says and the kit does not try (spec/eventing.md §26)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.policy.cesql.compile import compile_expression
from dataplane.policy.cesql.lex import ParseFault
from dataplane.wire.cloudevents import Event


def event(**extensions) -> Event:
    given = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order", **extensions}
    return Event(
        attributes={name: value if isinstance(value, str) else str(value).lower() for name, value in given.items()},
        typed={name: value for name, value in given.items() if not isinstance(value, str)},
    )


@pytest.mark.parametrize(
    ("text", "value", "error"),
    [
        # §26.5 precedence
        ("NOT FALSE = TRUE", True, None),
        ("NOT TRUE = TRUE", False, None),
        ("TRUE OR FALSE AND FALSE", True, None),
        ("FALSE AND TRUE OR TRUE", False, None),  # FALSE AND (TRUE OR TRUE)
        ("TRUE XOR TRUE OR TRUE", False, None),  # TRUE XOR (TRUE OR TRUE)
        ("TRUE XOR FALSE AND FALSE", True, None),
        ("NOT 'x' LIKE 'x'", False, "cast"),  # (NOT 'x') LIKE 'x'
        ("1 < 2 < 3", True, None),
        ("2 + 3 * 4", 14, None),
        ("10 - 3 - 2", 5, None),
        ("2 * 3 IN (3)", 2, None),  # 2 * (3 IN (3))
        ("EXISTS id AND NOT EXISTS ext", True, None),
        ("- 5 + 7", 2, None),
        # §26.6 a missing attribute is the zero of the smallest operation around it
        *((f"missing {sign} 2", False, "missingAttribute") for sign in ("=", "!=", "<>", "<", "<=", ">", ">=")),
        *((f"missing {sign} 0", 0, "missingAttribute") for sign in "+-*/%"),
        ("missing NOT LIKE 'x'", False, "missingAttribute"),
        ("missing IN ('x')", False, "missingAttribute"),
        ("missing NOT IN ('x')", False, "missingAttribute"),
        ("UPPER(missing)", "", "missingAttribute"),
        ("LENGTH(missing)", 0, "missingAttribute"),
        ("NOT EXISTS missing OR missing != 'a'", True, None),
        # §26.7 what AND and OR need not look at
        ("FALSE AND (1 != 1 / 0)", False, None),
        ("TRUE OR (1 != 1 / 0)", True, None),
        ("TRUE AND (1 != 1 / 0)", False, "math"),
        ("FALSE OR (1 != 1 / 0)", False, "math"),
        ("FALSE XOR (1 != 1 / 0)", False, "math"),
        ("FALSE AND TRUE XOR (1 / 0 = 1)", False, None),
        # §26.8
        ("-5 / 3", -1, None),
        ("5 / -3", -1, None),
        ("-5 % 3", -2, None),
        ("5 % -3", 2, None),
        ("2147483647 + 1", -2147483648, "math"),
        ("-2147483648 - 1", 2147483647, "math"),
        ("65536 * 65536", 0, "math"),
        ("- -2147483648", -2147483648, "math"),
        ("-2147483648 / -1", -2147483648, "math"),
        ("1 + (2147483647 + 1)", 0, "math"),
        # §26.9 to §26.11
        ("'5' < '10'", True, None),
        ("'a' < 'b'", False, "cast"),
        ("'TRUE' = TRUE", True, None),
        ("TRUE = 'TRUE'", False, None),
        ("'x' != 1", False, "cast"),
        ("'TRUE' IN (TRUE, 'false')", False, None),
        ("1 IN ('x')", False, "cast"),
        ("1 IN (1, 'x')", True, None),
        ("1 IN ('x', 1)", False, "cast"),
        ("1 NOT IN ('x', 1)", False, "cast"),
        ("id IN (source, id)", True, None),
        # §26.12
        ("'a%xb' LIKE 'a%b'", True, None),
        ("CONCAT('a', '\n', 'b') LIKE 'a%b'", True, None),
        ("CONCAT('a', '\n', 'b') LIKE 'a_b'", True, None),
        ("'' LIKE '%'", True, None),
        ("'' LIKE '_'", False, None),
        ("'ab' LIKE '%ab%b'", False, None),
        # §26.13
        ("INT(' 5')", 0, "cast"),
        ("INT('+5')", 5, None),
        ("INT('0x1')", 0, "cast"),
        ("INT('0000000000000005')", 5, None),
        ("INT('2147483648')", 0, "cast"),
        (f"INT('{'0' * 9000}7')", 7, None),  # more digits than Python's int() takes
        (f"INT('{'9' * 9000}')", 0, "cast"),
        (f"'-{'0' * 9000}7' < 0", True, None),
        ("NOT 10", False, None),
        # §26.14
        ("SUBSTRING('abc', 2, 100)", "bc", None),
        ("SUBSTRING('abc', 2, -1)", "", "functionEvaluation"),
        ("RIGHT('abc', 0)", "", None),
        ("TRIM('\u2003a\x1c')", "a\x1c", None),
        ("LENGTH('é😀')", 2, None),
        ("CONCAT_WS()", False, "missingFunction"),
        ("NOSUCH(1 / 0)", False, "missingFunction"),
        ("LEFT('abc', -1) = 'abc'", False, "functionEvaluation"),
        ("1 + LENGTH(LEFT('abc', -1))", 0, "functionEvaluation"),
        ("left(id, 1)", "1", None),
    ],
)
def test_value_and_error_of(text, value, error):
    result = compile_expression(text).evaluate(event())
    assert (result.value, result.error and result.error.kind) == (value, error)
    assert type(result.value) is type(value)


def test_identifiers_have_no_case():
    assert compile_expression("MyExt = 'a' AND TYPE = 'order'").matches(event(myext="a"))


def test_an_extension_keeps_the_type_it_came_with():
    assert compile_expression("flag").matches(event(flag=True))
    assert not compile_expression("flag").matches(event(flag="true"))  # a String is no Boolean
    assert compile_expression("n + 1 = 6").matches(event(n=5))
    assert compile_expression("n = '5'").matches(event(n=5))


def test_a_number_beyond_32_bits_is_read_as_the_text_it_is():
    assert compile_expression("n = '3000000000'").matches(event(n=3_000_000_000))


@pytest.mark.parametrize("text", ["1", "'true'", "missing", "1 / 0 = 1", "missing != 'x'"])
def test_only_boolean_true_without_an_error_matches(text):
    assert not compile_expression(text).matches(event())


@pytest.mark.parametrize(
    ("text", "interest"),
    [
        ("type = 'a'", ("type", "a")),
        ("'a' = TYPE", ("type", "a")),
        ("subject = 's' AND source = '/x' AND id = '1'", ("source", "/x")),
        ("id = '1' AND (subject = 's' AND type = 'a')", ("type", "a")),
        ("type = 'a' AND id = '1' OR id = '2'", ("type", "a")),  # type = 'a' AND (… OR …)
        ("id = '1' OR type = 'a' AND id = '2'", None),
        ("type = 'a' OR type = 'b'", None),
        ("NOT type = 'a'", None),
        ("type != 'a'", None),
        ("subject = 's'", None),
        ("type = 1", None),
        ("type = 'a' XOR TRUE", None),
    ],
)
def test_interest_of(text, interest):
    assert compile_expression(text).interest == interest


_LEAVES = st.sampled_from(["TRUE", "FALSE", "type = 'order'", "source = '/other'", "EXISTS ext", "n < 5"])
_CHAINS = st.recursive(
    _LEAVES,
    lambda inner: st.lists(st.tuples(inner, st.sampled_from(["AND", "OR", "XOR"])), min_size=2, max_size=5).map(
        lambda pairs: "(" + " ".join(f"{left} {sign}" for left, sign in pairs).rsplit(" ", 1)[0] + ")"
    ),
    max_leaves=30,
)


def _right_associated(text: str, attributes: dict[str, str]) -> bool:
    """An evaluator of its own for what _CHAINS makes: splits at the first operator, recursively."""
    leaves = {
        "TRUE": True,
        "FALSE": False,
        "type = 'order'": attributes["type"] == "order",
        "source = '/other'": attributes["source"] == "/other",
        "EXISTS ext": "ext" in attributes,
        "n < 5": int(attributes["n"]) < 5,
    }
    if text in leaves:
        return leaves[text]
    depth, inside = 0, text[1:-1] if _wraps(text) else text
    for index, char in enumerate(inside):
        depth += (char == "(") - (char == ")")
        if depth == 0 and char == " ":
            for sign in ("AND", "OR", "XOR"):
                if inside.startswith(sign + " ", index + 1):
                    left = _right_associated(inside[:index], attributes)
                    right = _right_associated(inside[index + len(sign) + 2 :], attributes)
                    return {"AND": left and right, "OR": left or right, "XOR": left != right}[sign]
    return _right_associated(inside, attributes)


def _wraps(text: str) -> bool:
    depth = 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return index == len(text) - 1 and char == ")"
    return False


@given(text=_CHAINS, type_=st.sampled_from(["order", "other"]), n=st.integers(0, 9), ext=st.booleans())
def test_logic_is_what_right_association_says(text, type_, n, ext):
    attributes = {"type": type_, "source": "/other", "n": str(n)} | ({"ext": "1"} if ext else {})
    expression = compile_expression(text)
    matches = expression.matches(Event(attributes=attributes))
    assert matches is _right_associated(text, attributes)
    if matches and expression.interest is not None:
        name, value = expression.interest
        assert attributes[name] == value


def test_a_text_cannot_be_made_to_grow_without_end():
    many = ", ".join(["x"] * 5000)
    with pytest.raises(ParseFault, match="too long for any event"):
        compile_expression(f"CONCAT({many}) LIKE '%{'a_' * 1000}b%'")
    for call in (f"CONCAT({many})", f"CONCAT_WS(x, {many})"):
        result = compile_expression(call).evaluate(event(x="a" * 60_000))
        assert (result.value, result.error and result.error.kind) == ("", "functionEvaluation")
    assert compile_expression("LENGTH(CONCAT(x, x)) = 120000").matches(event(x="a" * 60_000))


TOKENS = st.sampled_from(
    ["AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "true", "FALSE", "id", "x", "n", "(", ")", ",", "=", "!=", "<>", "<", ">=",
     "+", "-", "*", "/", "%", "0", "-1", "2147483647", "-2147483648", "''", "'a%_'", '"\\"%"', "'-0'", "ABS(", "LEFT(", "SUBSTRING(",
     "CONCAT_WS(", "INT(", "BOOL(", "TRIM(", "UPPER(", "NONE(", "LENGTH("]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(["0" * 5000 + "1", "9" * 5000, "+5", "\u0665", "TRUE", "-2147483648"])
)


@given(st.lists(TOKENS, max_size=14).map(" ".join), TEXTS, st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1)))
def test_whatever_parses_has_a_value_for_whatever_event(text, x, n):
    try:
        expression = compile_expression(text)
    except ParseFault:
        return
    given = event(x=x, n=n)
    result = expression.evaluate(given)
    assert type(result.value) in (str, int, bool)
    assert expression.matches(given) is (result.value is True and result.error is None)
