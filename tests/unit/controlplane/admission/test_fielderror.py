"""The form of errors: merged, sorted, printed (§5.1, §5.2)."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.admission.fielderror import (
    FieldError,
    as_warnings,
    disallowed,
    invalid,
    invalid_key,
    merged,
    missing,
    none_of,
    other,
    out_of_bounds,
    several_of,
    text,
    under,
)


def test_the_shapes_read_as_knatives():
    assert str(missing("a", "b")) == "missing field(s): a, b"
    assert str(disallowed("a")) == "must not set the field(s): a"
    assert str(invalid(7, "a")) == "invalid value: 7: a"
    assert str(none_of("a", "b")) == "expected exactly one, got neither: a, b"
    assert str(several_of("a", "b")) == "expected exactly one, got both: a, b"
    assert str(invalid_key("k", "a")) == 'invalid key name "k": a'
    assert str(out_of_bounds(9, 0, 5, "a")) == "expected 0 <= 9 <= 5: a"


def test_details_stand_in_their_own_line():
    assert str(invalid("x", "a", "because")) == "invalid value: x: a\nbecause"


def test_paths_grow_outwards_with_indexes_and_keys_glued_on():
    inner = under("containers[0]", [missing("image")])
    assert [error.paths for error in under("spec", inner)] == [("spec.containers[0].image",)]
    assert [error.paths for error in under("data", [missing("[a.b]")])] == [("data[a.b]",)]
    assert [error.paths for error in under("spec", [missing("")])] == [("spec",)], "the thing itself"


def test_equal_messages_become_one_with_the_union_of_paths_sorted():
    errors = [missing("b"), invalid("x", "a"), missing("a"), missing("b")]
    assert text(errors) == "invalid value: x: a\nmissing field(s): a, b"


def test_errors_with_other_details_or_level_stay_apart():
    errors = [invalid("x", "a", "one"), invalid("x", "a", "two"), *as_warnings([missing("a")]), missing("a")]
    assert [(error.details, error.level) for error in merged(errors)] == [
        ("one", "error"),
        ("two", "error"),
        ("", "error"),
        ("", "warning"),
    ]


ERRORS = st.builds(
    FieldError,
    message=st.sampled_from(["m1", "m2"]),
    paths=st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    details=st.sampled_from(["", "d"]),
)


@given(st.lists(ERRORS), st.randoms())
def test_order_and_repetition_do_not_matter(errors, random):
    shuffled = errors + errors
    random.shuffle(shuffled)
    assert merged(shuffled) == merged(errors)
    assert merged(merged(errors)) == merged(errors)


def test_a_giant_value_does_not_make_a_giant_message():
    assert len(str(invalid("x" * 100_000, "a"))) < 1000
    assert str(other("m")) == "m: "
