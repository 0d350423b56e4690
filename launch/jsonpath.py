"""kubectl's JSONPath templates: `{.status.url}`, `{range .items[*]}{.metadata.name}{"\\n"}{end}`, filters, slices.

Path: `get -o jsonpath=TEMPLATE` → [jsonpath] → text. Pure.

Like kubectl: text outside braces is kept, several results are separated by a blank, a missing field is empty.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

import json
import re
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""
      \.\.(?P<deep>[\w-]+|\*)            # ..name
    | \.(?P<field>(?:\\.|[^\s.\[\]{}()=!<>'"\\*])+|\*)   # .name, dots escaped with a backslash
    | \[\s*'(?P<quoted>(?:\\.|[^'])*)'\s*\]
    | \[\s*"(?P<dquoted>(?:\\.|[^"])*)"\s*\]
    | \[\s*(?P<all>\*)\s*\]
    | \[\s*\?\((?P<filter>.*?)\)\s*\]
    | \[\s*(?P<slice>-?\d*\s*:\s*-?\d*(?:\s*:\s*-?\d+)?)\s*\]
    | \[\s*(?P<union>-?\d+(?:\s*,\s*-?\d+)*)\s*\]
    """,
    re.VERBOSE,
)
_FILTER = re.compile(r"""^\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*$""")
_TEMPLATE_CHARS_MAX = 64 * 1024


class _Block(NamedTuple):
    """`{…}` or text between blocks."""

    text: str
    literal: bool


def render(template: str, data: object) -> str:
    """Raises ValueError saying what is wrong with the template."""
    if len(template) > _TEMPLATE_CHARS_MAX:
        raise ValueError(f"template of {len(template)} characters; at most {_TEMPLATE_CHARS_MAX}")
    if "{" not in template:
        template = f"{{{template if template.startswith(('.', '[', '$')) else '.' + template}}}"
    blocks = _blocks(template)
    out, rest = _run(blocks, 0, data, data)
    if rest != len(blocks):
        raise ValueError("{end} without {range}")
    return out


def find(path: str, data: object, root: object = None) -> list[Any]:
    """Every value at `path` (`.items[*].metadata.name`). Raises ValueError on a path that cannot be read."""
    path = path.strip()
    if path.startswith("$"):
        path, data = path[1:], root if root is not None else data
    path = path.removeprefix("@")
    if path in ("", "."):
        return [data]
    if path[0] not in ".[":
        raise ValueError(f"{path!r}: a path begins with a dot")
    found, at = [data], 0
    while at < len(path):
        token = _TOKEN.match(path, at)
        if token is None:
            raise ValueError(f"{path!r}: cannot read {path[at:]!r}")
        found = [value for one in found for value in _step(token, one)]
        at = token.end()
    return found


def _blocks(template: str) -> list[_Block]:
    out: list[_Block] = []
    at = 0
    while at < len(template):
        start = template.find("{", at)
        if start < 0:
            out.append(_Block(template[at:], True))
            break
        if start > at:
            out.append(_Block(template[at:start], True))
        end = _closing(template, start)
        out.append(_Block(template[start + 1 : end].strip(), False))
        at = end + 1
    return out


def _closing(template: str, start: int) -> int:
    quote = ""
    at = start + 1
    while at < len(template):
        char = template[at]
        if char == "\\":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "}":
            return at
        at += 1
    raise ValueError("unclosed {")


def _run(blocks: list[_Block], at: int, data: object, root: object) -> tuple[str, int]:
    """Render from `at` until `{end}` or the end; returns the text and where it stopped."""
    out: list[str] = []
    while at < len(blocks):
        text, literal = blocks[at]
        if literal:
            out.append(text)
        elif text == "end":
            return "".join(out), at
        elif text.startswith("range"):
            after = _skip(blocks, at + 1)
            out += [_run(blocks, at + 1, one, root)[0] for one in find(text[5:], data, root)]
            at = after
        elif text[:1] in "'\"" and text:
            out.append(_unquoted(text))
        else:
            out.append(" ".join(_shown(one) for one in find(text, data, root)))
        at += 1
    return "".join(out), at


def _skip(blocks: list[_Block], at: int) -> int:
    depth = 1
    while at < len(blocks):
        if not blocks[at].literal:
            depth += blocks[at].text.startswith("range") - (blocks[at].text == "end")
        if depth == 0:
            return at
        at += 1
    raise ValueError("{range} without {end}")


def _step(token: re.Match[str], one: object) -> list[Any]:
    groups = token.groupdict()
    if groups["deep"] is not None:
        return _deep(groups["deep"], one)
    name = groups["field"] if groups["field"] is not None else groups["quoted"]
    name = name if name is not None else groups["dquoted"]
    if groups["all"] or name == "*":
        return list(one.values()) if isinstance(one, dict) else list(one) if isinstance(one, list) else []
    if name is not None:
        key = re.sub(r"\\(.)", r"\1", name)
        return [one[key]] if isinstance(one, dict) and key in one else []
    if not isinstance(one, list):
        return []
    if groups["filter"] is not None:
        return [item for item in one if _matches(groups["filter"], item)]
    if groups["slice"] is not None:
        parts = [int(part) if part.strip() else None for part in groups["slice"].split(":")]
        return one[slice(*parts)]
    return [one[n] for n in map(int, groups["union"].split(",")) if -len(one) <= n < len(one)]


def _deep(name: str, one: object) -> list[Any]:
    out: list[Any] = []
    children = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
    if name == "*":
        out += children
    elif isinstance(one, dict) and name in one:
        out.append(one[name])
    for child in children:
        out += _deep(name, child)
    return out


def _matches(condition: str, item: object) -> bool:
    parsed = _FILTER.match(condition)
    if parsed is None:
        raise ValueError(f"cannot read the filter {condition!r}")
    found = find(parsed["path"] or ".", item)
    if parsed["op"] is None:
        return bool(found)
    try:
        wanted: Any = _unquoted(parsed["value"]) if parsed["value"][:1] in "'\"" else json.loads(parsed["value"])
    except ValueError:
        raise ValueError(f"cannot read the value {parsed['value']!r}; texts need quotes") from None
    if not found:
        return False
    left: Any = found[0]
    if parsed["op"] == "==":
        return bool(left == wanted)
    if parsed["op"] == "!=":
        return bool(left != wanted)
    if type(left) is not type(wanted) and not (isinstance(left, int | float) and isinstance(wanted, int | float)):
        return False
    return bool({"<": left < wanted, ">": left > wanted, "<=": left <= wanted, ">=": left >= wanted}[parsed["op"]])


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise ValueError(f"unclosed quote in {text!r}")
    escapes = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[1]), text[1:-1])


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
