"""What the API has: groups, versions, kinds with their short names and categories. Built once from the kinds.

Path: kubectl's first requests → [discovery].

Both forms: the aggregated one (two requests) that new clients ask for, and the plain lists.

Source: Kubernetes API concepts, "API discovery"; design/ecosystem.md §2.4.
"""

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import msgspec
from aiohttp import web

from dataplane.resources.kinds import KINDS, Kind

Body = dict[str, Any]

KUBERNETES_MINOR = "36"  # whose protocol this follows; kubectl warns when it is too far away
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def routes() -> Iterator[web.RouteDef]:
    yield web.get("/version", _answer(version()))
    yield web.get("/api", _either(api_versions(), aggregated(core=True)))
    yield web.get("/apis", _either(groups(), aggregated(core=False)))
    for name in sorted({kind.group for kind in KINDS if kind.group}):
        yield web.get(f"/apis/{name}", _answer({"kind": "APIGroup", "apiVersion": "v1", **_group(name)}))
    for api_version in dict.fromkeys(kind.api_version for kind in KINDS):
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        yield web.get(prefix, _answer(resources(api_version)))


def version() -> Body:
    """Ours is in gitVersion, as distributions do; major and minor say which Kubernetes the protocol is from."""
    try:
        ours = metadata.version("dataplane")
    except metadata.PackageNotFoundError:  # run from a source tree
        ours = "0.0.0"
    return {
        "major": "1",
        "minor": KUBERNETES_MINOR,
        "gitVersion": f"v1.{KUBERNETES_MINOR}.0+dataplane.{ours}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def api_versions() -> Body:
    return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups() -> Body:
    names = dict.fromkeys(kind.group for kind in KINDS if kind.group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in names]}


def _group(name: str) -> Body:
    versions = dict.fromkeys(kind.version for kind in KINDS if kind.group == name)
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def resources(api_version: str) -> Body:
    found: list[Body] = []
    for kind in KINDS:
        if kind.api_version != api_version:
            continue
        found.append(
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": list(kind.verbs),
                "shortNames": list(kind.short_names),
                "categories": list(kind.categories),
            }
        )
        found += [
            {
                "name": f"{kind.plural}/{name}",
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": verbs,
            }
            for name, verbs in _subresources(kind)
        ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": found}


def aggregated(*, core: bool) -> Body:
    items: list[Body] = []
    for group in dict.fromkeys(kind.group for kind in KINDS if (kind.group == "") == core):
        versions: list[Body] = []
        for number in dict.fromkeys(kind.version for kind in KINDS if kind.group == group):
            of = [kind for kind in KINDS if (kind.group, kind.version) == (group, number)]
            versions.append({"version": number, "freshness": "Current", "resources": [_discovered(k) for k in of]})
        items.append({"metadata": {"name": group} if group else {}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _discovered(kind: Kind) -> Body:
    response = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return {
        "resource": kind.plural,
        "responseKind": response,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "shortNames": list(kind.short_names),
        "categories": list(kind.categories),
        "verbs": list(kind.verbs),
        "subresources": [
            {"subresource": name, "responseKind": response, "verbs": verbs} for name, verbs in _subresources(kind)
        ],
    }


def _subresources(kind: Kind) -> Iterator[tuple[str, list[str]]]:
    if kind.status:
        yield "status", ["get", "patch", "update"]
    if kind.kind == "Pod":
        yield "log", ["get"]


def _answer(body: Body) -> Any:
    encoded = msgspec.json.encode(body)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=encoded, content_type="application/json")

    return answer


def _either(plain: Body, whole: Body) -> Any:
    short, long = msgspec.json.encode(plain), msgspec.json.encode(whole)

    async def answer(request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "").replace(" ", "")
        if "as=APIGroupDiscoveryList" in accept and "v=v2" in accept.replace("v=v2beta1", ""):
            return web.Response(body=long, headers={"Content-Type": _AGGREGATED})
        return web.Response(body=short, content_type="application/json")

    return answer
