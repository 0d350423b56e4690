"""Schemas of the kinds as OpenAPI v3, made from the structs: what `kubectl explain` prints and `kubectl apply` checks.

Path: kubectl explain, apply → [openapi].

One document per group and version, made when it is first asked for. The paths are there because kubectl finds a
kind's schema and the query parameters that a server knows through them.

Source: Kubernetes "OpenAPI V3"; design/ecosystem.md §2.4.
"""

import functools
import hashlib
import inspect as python
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from controlplane.api import status
from controlplane.api.fielddocs import DOCS
from dataplane.resources.kinds import KINDS, Kind

Schema = dict[str, Any]

_PARAMETERS = {
    "get": (),
    "post": ("dryRun", "fieldManager", "fieldValidation"),
    "put": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
}
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    bool: {"type": "boolean"},
}


# OpenAPI v2 without a single definition, in the encoding that kubectl asks for: Document{swagger, info, paths,
# definitions} of gnostic's openapiv2. kubectl falls back to it for a kind that v3 does not have, finds nothing to check
# there either, and only then says what is wrong: `no matches for kind`.
_V2_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2 = b"\x0a\x032.0" + b"\x12\x0f\x0a\x09dataplane\x12\x02v1" + b"\x42\x00" + b"\x4a\x00"


def routes() -> Iterator[web.RouteDef]:
    yield web.get("/openapi/v2", _version_2)
    yield web.get("/openapi/v3", _index)
    yield web.get("/openapi/v3/{document:.+}", _document)


async def _version_2(_: web.Request) -> web.Response:
    return web.Response(body=_V2, headers={"Content-Type": _V2_TYPE})


async def _index(_: web.Request) -> web.Response:
    return web.Response(body=index(), content_type="application/json")


async def _document(request: web.Request) -> web.Response:
    api_version = request.match_info["document"].removeprefix("apis/").removeprefix("api/")
    if api_version not in {kind.api_version for kind in KINDS}:
        raise status.no_such_resource()
    return web.Response(body=document(api_version), content_type="application/json")


@functools.cache
def index() -> bytes:
    paths = {}
    for api_version in dict.fromkeys(kind.api_version for kind in KINDS):
        digest = hashlib.sha256(document(api_version)).hexdigest()[:32]  # clients keep the document under this address
        paths[_prefix(api_version)[1:]] = {"serverRelativeURL": f"/openapi/v3{_prefix(api_version)}?hash={digest}"}
    return msgspec.json.encode({"paths": paths})


@functools.cache
def document(api_version: str) -> bytes:
    """The document of one group and version, encoded."""
    schemas: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for kind in KINDS:
        if kind.api_version == api_version:
            _struct(kind.struct, schemas)
            schemas[_name(kind.struct)]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
            paths.update(_paths(kind))
    return msgspec.json.encode(
        {
            "openapi": "3.0.0",
            "info": {"title": "dataplane", "version": "v1"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
    )


def _prefix(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _gvk(kind: Kind) -> Schema:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _paths(kind: Kind) -> Iterator[tuple[str, Schema]]:
    collection = f"{_prefix(kind.api_version)}{'/namespaces/{namespace}' if kind.namespaced else ''}/{kind.plural}"
    yield collection, {method: _operation(kind, method) for method in ("get", "post")}
    yield f"{collection}/{{name}}", {method: _operation(kind, method) for method in ("get", "put", "patch", "delete")}


def _operation(kind: Kind, method: str) -> Schema:
    schema = {"$ref": f"#/components/schemas/{_name(kind.struct)}"}
    operation: Schema = {
        "operationId": f"{method}{kind.version.capitalize()}{kind.kind}",
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for name in _PARAMETERS[method]
        ],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
        "x-kubernetes-action": method,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if method == "patch":
        operation["requestBody"] = {"content": {media: {"schema": {"type": "object"}} for media in _PATCHES}}
    elif method in ("post", "put"):
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _name(struct: type) -> str:
    """`controlplane`'s structs under the names that Kubernetes uses: tools show them."""
    module = struct.__module__.rpartition(".")[2]
    space = {
        "core": "io.k8s.api.core.v1",
        "meta": "io.k8s.apimachinery.pkg.apis.meta.v1",
        "serving": "dev.knative.serving.v1",
        "eventing": "dev.knative.eventing.v1",
    }
    return f"{space.get(module, module)}.{struct.__name__}"


def _struct(struct: type[msgspec.Struct], schemas: dict[str, Schema]) -> Schema:
    """A reference to the struct's schema, which is added with all that it needs."""
    name = _name(struct)
    if name not in schemas:
        schema: Schema = {"type": "object"}
        schemas[name] = schema  # before its fields: a struct may hold itself
        if struct.__doc__ and "__doc__" in vars(struct) and not struct.__doc__.startswith(struct.__name__ + "("):
            schema["description"] = python.cleandoc(struct.__doc__)
        if text := DOCS.get(struct.__name__):
            schema["description"] = text
        fields = msgspec.structs.fields(struct)
        schema["properties"] = {field.encode_name: _field(struct, field, schemas) for field in fields}
        if required := [field.encode_name for field in fields if field.required]:
            schema["required"] = required
    return {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}


def _field(struct: type, field: msgspec.structs.FieldInfo, schemas: dict[str, Schema]) -> Schema:
    schema = dict(_type(field.type, schemas))
    for owner in struct.__mro__:  # a RevisionSpec is a PodSpec
        if text := DOCS.get(f"{owner.__name__}.{field.encode_name}"):
            schema["description"] = text
            break
    return schema


def _type(kind: Any, schemas: dict[str, Schema]) -> Schema:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if origin is typing.Literal:
        return {"type": "string", "enum": list(inner)}
    if origin in (types.UnionType, typing.Union):
        some = [one for one in inner if one is not type(None)]
        if len(some) == 1:
            return _type(some[0], schemas)
        return {"x-kubernetes-int-or-string": True, "oneOf": [{"type": "integer"}, {"type": "string"}]}
    if origin is tuple:
        return {"type": "array", "items": _type(inner[0], schemas)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(inner[1], schemas)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, schemas)
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
