"""`dataplane explain ksvc.spec.template.spec`: what a field means, from the API's OpenAPI documents. Pure.

Source: kubectl explain (layout).
"""

import textwrap
from typing import Any

Schema = dict[str, Any]

_WIDTH = 80


def described(document: Schema, group: str, version: str, kind: str, path: list[str]) -> list[str]:
    """Lines as kubectl prints them. Raises ValueError with a suggestion when a field is not there."""
    schemas: Schema = document.get("components", {}).get("schemas", {})
    root = next((one for one in schemas.values() if _is(one, group, version, kind)), None)
    if root is None:
        raise ValueError(f"the API describes no {kind}")
    schema, field, owner = root, "", root
    for n, name in enumerate(path):
        owner = _resolved(_element(schema, schemas), schemas)
        properties: Schema = owner.get("properties", {})
        if name not in properties:
            raise ValueError(_missing(name, properties, ".".join([kind.lower(), *path[:n]])))
        schema, field = properties[name], name
    inner = _resolved(_element(schema, schemas), schemas)
    out = [f"GROUP:      {group}"] if group else []
    out += [f"KIND:       {kind}", f"VERSION:    {version}", ""]
    if field:
        out += [f"FIELD: {field} <{_type(schema, schemas)}>", ""]
    out += ["DESCRIPTION:", *_wrapped(schema.get("description") or inner.get("description", ""), 4), ""]
    properties = inner.get("properties", {})
    if properties:
        required = set(inner.get("required", []))
        out.append("FIELDS:")
        for name in sorted(properties):
            one = properties[name]
            mark = " -required-" if name in required else ""
            out.append(f"  {name}\t<{_type(one, schemas)}>{mark}")
            told = one.get("description") or _resolved(_element(one, schemas), schemas).get("description", "")
            out += [*_wrapped(told, 4), ""]
    return out


def _is(schema: Schema, group: str, version: str, kind: str) -> bool:
    marks = schema.get("x-kubernetes-group-version-kind", [])
    return {"group": group, "version": version, "kind": kind} in marks


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    """Follow `$ref` and the single member of `allOf` or of an `anyOf` beside null."""
    for _ in range(10):  # a document that refers to itself ends here
        if "$ref" in schema:
            schema = schemas.get(schema["$ref"].rpartition("/")[2], {})
            continue
        members = [one for key in ("allOf", "anyOf", "oneOf") for one in schema.get(key, [])]
        members = [one for one in members if one.get("type") != "null"]
        if len(members) != 1:
            return schema
        schema = members[0]
    return schema


def _element(schema: Schema, schemas: Schema) -> Schema:
    """Of a list or a map, what it holds; otherwise the schema itself."""
    found = _resolved(schema, schemas)
    if found.get("type") == "array" and isinstance(found.get("items"), dict):
        return _element(found["items"], schemas)
    extra = found.get("additionalProperties")
    if found.get("type") == "object" and not found.get("properties") and isinstance(extra, dict):
        return _element(extra, schemas)
    return found


def _type(schema: Schema, schemas: Schema) -> str:
    found = _resolved(schema, schemas)
    kind = found.get("type", "Object" if found.get("properties") else "")
    if kind == "array":
        return f"[]{_type(found.get('items', {}), schemas)}"
    if kind == "object":
        extra = found.get("additionalProperties")
        if not found.get("properties") and isinstance(extra, dict):
            return f"map[string]{_type(extra, schemas)}"
        return "Object"
    if not kind:
        members = [_type(one, schemas) for key in ("anyOf", "oneOf") for one in found.get(key, [])]
        return " or ".join(member for member in members if member != "null") or "any"
    return str(kind)


def _wrapped(text: str, indent: int) -> list[str]:
    blanks = " " * indent
    lines = [line for part in (text or "<empty>").splitlines() for line in textwrap.wrap(part, _WIDTH - indent) or [""]]
    return [(blanks + line).rstrip() for line in lines]


def _missing(name: str, properties: Schema, where: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, properties, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(sorted(properties)) or 'none'}"
    return f'field "{name}" does not exist in {where}{hint}'
