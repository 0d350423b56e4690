"""What a plain scalar means to Kubernetes' tools. Pure.

Path: yaml_text.py → [yaml_scalars].

As go-yaml v2 has it, which is YAML 1.1 with its own mind: `yes`, `on`, `y` are booleans, dates and `1:30` are strings,
`1e3` is a number, `0123` and `0o17` are octal.

Source: design/ecosystem.md §1.6; gopkg.in/yaml.v2, resolve.go.
"""

import re

# Explicit tags, with the types that their values may have; and how a word that may be more than a string begins.
CORE = "tag:yaml.org,2002:"
TAGS: dict[str, tuple[type, ...]] = {
    CORE + "str": (str,),
    CORE + "int": (int,),
    CORE + "float": (float,),
    CORE + "bool": (bool,),
    CORE + "null": (type(None),),
    CORE + "timestamp": (str,),
}
MAYBE = frozenset("yYnNtTfFoO~0123456789+-.")
_WORDS: dict[str, bool | float | None] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INT = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NUMBER_CHARS_MAX = 80  # a longer one is no number that anybody can hold


def resolve(text: str) -> bool | int | float | str | None:
    """What a plain scalar is."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-." or len(text) > _NUMBER_CHARS_MAX:
        return text
    plain = text.replace("_", "")
    if _INT.fullmatch(plain):
        sign, digits = (-1, plain[1:]) if plain[0] == "-" else (1, plain.removeprefix("+"))
        octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal()
        number = sign * (int(digits, 8) if octal else int(digits, 0))
        if -(2**63) <= number < 2**64:
            return number
    if _FLOAT.fullmatch(plain):
        value = float(plain)
        if abs(value) != float("inf"):
            return value
    return text
