"""Go's text forms: durations, numbers, quantities, templates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.go_text import (
    Part,
    duration_ns,
    format_go_duration,
    format_go_float,
    parse_go_bool,
    parse_go_duration,
    parse_go_float,
    parse_go_int,
    parse_quantity,
    parse_template,
    quoted,
    render,
)
from dataplane.errors import ConfigFault


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("0s", 0), ("30s", 30), ("1m30s", 90), ("1h", 3600), ("1.5h", 5400), ("250ms", 0.25), ("-5s", -5),
        ("+5s", 5), (".5s", 0.5), ("1h2m3.004s", 3723.004), ("100us", 1e-4), ("100µs", 1e-4), ("7ns", 7e-9),
    ],
)  # fmt: skip
def test_durations_read_as_go_reads_them(text, seconds):
    assert parse_go_duration(text) == pytest.approx(seconds, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        ("-", 'time: invalid duration "-"'),
        ("10", 'time: missing unit in duration "10"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1s ", 'time: unknown unit "s " in duration "1s "'),
        (".s", 'time: invalid duration ".s"'),
        ("3000000h", 'time: invalid duration "3000000h"'),
    ],
)
def test_a_bad_duration_says_what_go_says(text, message):
    with pytest.raises(ValueError, match="time") as caught:
        parse_go_duration(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (6, "6s"), (60, "1m0s"), (90, "1m30s"), (3600, "1h0m0s"), (3723.5, "1h2m3.5s"), (0.25, "250ms"),
        (1.5, "1.5s"), (1e-6, "1µs"), (7e-9, "7ns"), (-5, "-5s"),
    ],
)  # fmt: skip
def test_durations_print_as_go_prints_them(seconds, text):
    assert format_go_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_a_printed_duration_reads_back(ns):
    assert duration_ns(format_go_duration(ns / 1e9)) == pytest.approx(ns, abs=1 + abs(ns) * 1e-15)


@given(st.text(max_size=60))
def test_any_text_is_a_duration_or_a_value_error(text):
    try:
        duration_ns(text)
    except ValueError:
        pass


def test_booleans_and_numbers_are_gos():
    assert [parse_go_bool(text) for text in ("1", "t", "TRUE", "0", "False")] == [True, True, True, False, False]
    assert parse_go_int("-12") == -12
    assert parse_go_float("1e3") == 1000.0
    assert (format_go_float(100.0), format_go_float(0.7), format_go_float(1e21)) == ("100", "0.7", "1e+21")
    with pytest.raises(ValueError, match=r'strconv\.ParseBool: parsing "yes": invalid syntax'):
        parse_go_bool("yes")
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_go_int("1_000")
    with pytest.raises(OverflowError, match="value out of range"):
        parse_go_int("2147483648", 32)
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_go_float(" 1")


@pytest.mark.parametrize(
    ("text", "number"),
    [("100m", 0.1), ("64Mi", 64 * 2**20), ("1", 1), ("1.5", 1.5), ("1k", 1000), ("2e3", 2000), ("-1", -1), (2, 2)],
)
def test_quantities(text, number):
    assert parse_quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "1 Mi", "Mi", "10q", "1KiB", "0x10", "1" * 80])
def test_what_is_no_quantity(text):
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        parse_quantity(text)


def test_a_template_is_literals_fields_and_map_entries():
    parts = parse_template(
        '{{.Name}}-{{ .Labels.app }}.{{index .Annotations "a.b/c"}}!',
        frozenset({"Name"}),
        frozenset({"Labels", "Annotations"}),
    )
    assert parts[0] == Part(field="Name")
    assert render(parts, {"Name": "n", "Labels": {"app": "x"}, "Annotations": {"a.b/c": "y"}}) == "n-x.y!"
    assert render(parts, {"Name": "n", "Labels": {}, "Annotations": {}}) == "n-.!", "a missing entry is empty"


@pytest.mark.parametrize(
    "text", ["{{.Nme}}", "{{if .Name}}x{{end}}", "{{.Name", "{{.Name | upper}}", "{{.Labels}}", "x" * 2000]
)
def test_a_template_that_is_more_than_that_is_refused(text):
    with pytest.raises(ConfigFault):
        parse_template(text, frozenset({"Name"}), frozenset({"Labels"}))


def test_quoting_escapes_and_cuts():
    assert quoted('a"b\n\t') == '"a\\"b\\n\\t"'
    assert len(quoted("x" * 10_000)) < 300
