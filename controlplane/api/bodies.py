"""Request bodies: bytes → one JSON-shaped object → a resource, with everything unknown or wrong named.

Path: objects, bulk → [bodies] → writes.

JSON, or YAML in Kubernetes' dialect. null means absent, as for Go's decoders. Bounded in bytes and in depth before
anything walks it (CP-01).

Source: Kubernetes API concepts, "Field validation"; reliability.md CP-01.
"""

from typing import Any

import msgspec
from aiohttp import web

from controlplane import strict, yaml_text
from controlplane.api import protobuf, status
from dataplane.resources import eventing
from dataplane.resources.kinds import Kind, to_builtins
from dataplane.resources.meta import Resource

BODY_BYTES_MAX = 3 * 512 * 1024  # 1.5 MiB: what etcd, and so every Kubernetes, accepts
DEPTH_MAX = 100
NAMED_MAX = 20  # mistakes named in one answer

_ACCEPTED = ("application/json", "application/yaml")


async def read(request: web.Request, limit_bytes: int = BODY_BYTES_MAX) -> bytes:
    """The body. Raises ApiError 413 as soon as it is longer than the limit."""
    if (request.content_length or 0) > limit_bytes:
        raise status.too_large(limit_bytes)
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit_bytes:
            raise status.too_large(limit_bytes)
    return bytes(body)


def parse(body: bytes, content_type: str) -> Any:
    """JSON-shaped data without nulls in maps. Raises ApiError: 400 for broken text, 415 for another format."""
    if "protobuf" in content_type:
        try:
            return protobuf.decode(body)
        except protobuf.ProtobufFault as error:
            raise status.unsupported(f"{content_type}: {error}", _ACCEPTED) from error
    if "cbor" in content_type:  # clients fall back to JSON
        raise status.unsupported(content_type, _ACCEPTED)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if "yaml" not in content_type:
            raise status.bad_request(f"the body is not JSON: {error}") from error
        value = _yaml(body)
    except RecursionError as error:
        raise status.bad_request(f"the body is nested deeper than {DEPTH_MAX}") from error
    return value


def _yaml(body: bytes) -> Any:
    found, faults = yaml_text.documents(body.decode("utf-8", "replace"))
    if faults:
        raise status.bad_request("; ".join(f"line {f.line}, column {f.column}: {f.message}" for f in faults[:20]))
    if len(found) != 1:
        raise status.bad_request(f"one document is expected, {len(found)} were sent")
    return found[0].value


def without_nulls(value: Any, depth: int = 0) -> Any:
    """A copy. Raises ApiError 400 when it is nested too deep."""
    if depth > DEPTH_MAX:
        raise status.bad_request(f"the body is nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        return {key: without_nulls(inner, depth + 1) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):  # tuples: from structs, within the process
        return [without_nulls(inner, depth + 1) for inner in value]
    return value


def plain(one: Resource) -> dict[str, Any]:
    """The object as a client would have sent it: only maps, lists and scalars, to be changed at will."""
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(to_builtins(one)))
    return body


def resource(kind: Kind, data: Any, validation: str = "Warn") -> tuple[Resource, list[str]]:
    """The struct, and warnings (one line each, for Warning headers).

    `validation`: Strict refuses unknown fields, Warn reports them, Ignore drops them. In the spec of a Broker or
    Trigger they are always refused: a filter that is not understood must not become "every event" (eventing.md B3).

    Raises:
        ApiError: 400; the message names every mistake.
    """
    if not isinstance(data, dict):
        raise status.bad_request("the body is not an object")
    data = without_nulls(data)
    given = (data.get("apiVersion", kind.api_version), data.get("kind", kind.kind))
    if given != (kind.api_version, kind.kind):
        raise status.bad_request(
            f"the type in the data ({given[0]}, {given[1]}) does not match the expected type "
            f"({kind.api_version}, {kind.kind})"
        )
    one, faults = strict.decode(kind.struct, data)
    unknown = [_unknown(fault) for fault in faults if fault.kind == "unknown"]
    if kind.group == eventing.GROUP and any(
        fault.kind == "unknown" and fault.path.partition(".")[0] == "spec" for fault in faults
    ):
        validation = "Strict"
    wrong = [str(fault) for fault in faults if fault.kind != "unknown"]
    cannot = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
    if unknown and validation == "Strict":
        raise status.bad_request(f"{cannot}: strict decoding error: {_some(unknown + wrong)}")
    if one is None:
        raise status.bad_request(f"{cannot}: {_some(wrong)}")
    return one, [] if validation == "Ignore" else unknown[:NAMED_MAX]


def _unknown(fault: strict.Fault) -> str:
    """In Kubernetes' words, which kubectl recognizes."""
    hint = f'; did you mean "{fault.suggestion}"?' if fault.suggestion else ""
    return f'unknown field "{fault.path}"{hint}'


def _some(texts: list[str]) -> str:
    more = f", and {len(texts) - NAMED_MAX} more" if len(texts) > NAMED_MAX else ""
    return ", ".join(texts[:NAMED_MAX]) + more
