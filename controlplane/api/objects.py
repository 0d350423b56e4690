"""get, list, create, replace, patch, apply, delete: one request, one object or collection, one commit.

Path: aiohttp's router → [objects] → bodies, patches, applying → writes → store → tables → the client.

Everything that changes an object is a function from the old to the new one, tried again when somebody else was faster
and the client did not insist on a version (CP-03).

Source: Kubernetes API concepts; design/ecosystem.md §2.4; reliability.md CP-03.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from controlplane.api import bodies, deletes, paging, patches, selectors, status, tables, watch
from controlplane.api.applying import applied
from controlplane.api.fieldsets import Manager
from controlplane.api.logs import Logs
from controlplane.api.target import Target, parse
from controlplane.api.watch import Watches
from controlplane.api.writes import Prepared, Writes
from controlplane.store.contract import Conflict, Delete, Put, Store
from dataplane.clock import Clock
from dataplane.resources.kinds import to_builtins
from dataplane.resources.meta import Resource

TRIES = 64  # of a write that named no version; each one lost means that somebody else got on
LISTED_PER_TURN = 25  # objects of a list, or rows of a table, in one turn of the loop
WARNING_CHARS_MAX = 1024
WARNINGS_CHARS_MAX = 4096  # headers have to fit into a client's buffers

Change = Callable[[Resource | None], Prepared]

_MERGE = "application/merge-patch+json"
_JSON = "application/json-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Objects:
    def __init__(self, *, store: Store, writes: Writes, watches: Watches, logs: Logs, clock: Clock) -> None:
        self._store = store
        self._writes = writes
        self._watches = watches
        self._clock = clock
        self._do: dict[tuple[str, str], Callable[[web.Request, Target], Awaitable[web.StreamResponse]]] = {
            ("collection", "GET"): self._list,
            ("collection", "POST"): self._create,
            ("collection", "DELETE"): self._delete_collection,
            ("object", "GET"): self._get,
            ("object", "PUT"): self._replace,
            ("object", "PATCH"): self._patch,
            ("object", "DELETE"): self._delete,
            ("status", "GET"): self._get,
            ("status", "PUT"): self._replace,
            ("status", "PATCH"): self._patch,
            ("log", "GET"): logs.serve,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any method on `/api/{version}/{tail}` and `/apis/{group}/{version}/{tail}`."""
        where = request.match_info
        target = parse(where.get("group", ""), where["version"], where["tail"])
        if target is None:
            raise status.no_such_resource()
        what = target.subresource or ("object" if target.name else "collection")
        do = self._do.get((what, request.method))
        if do is None:
            raise status.no_such_method()
        return await do(request, target)

    # reading

    async def _get(self, request: web.Request, target: Target) -> web.Response:
        return self._answer(request, target, self._present(target, self._store.get(target.key())))

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        kind, query, form = target.kind, request.query, tables.form(request.headers.get("Accept", ""))
        include = query.get("includeObject", "")
        matches = _selector(request, target)
        if query.get("watch") in ("true", "1"):
            shape = watch.Shape(form, include)
            return await self._watches.serve(request, target, matches, watch.start(request), shape)
        found = self._matching(target, matches)
        limit, token = query.get("limit", ""), query.get("continue", "")
        found, meta = paging.page(found, limit, token, self._store.revision)
        if form == "table":
            now = self._clock.wall()
            body = tables.table(kind, (), now=now, include=include, meta=meta)
            rows = await _pieces(found, lambda one: tables.row(kind, one, now=now, include=include))
            return _json(body | {"rows": rows})
        if form == "metadata":
            name, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            items = await _pieces(found, tables.partial)
        else:
            name, version = f"{kind.kind}List", kind.api_version
            items = await _pieces(found, to_builtins)
        return _json({"kind": name, "apiVersion": version, "metadata": meta, "items": items})

    def _matching(self, target: Target, matches: selectors.Predicate) -> list[Resource]:
        kind = target.kind
        return [one for one in self._store.objects(kind.group, kind.kind, target.namespace or None) if matches(one)]

    # writing

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        data = bodies.parse(await bodies.read(request), request.content_type)
        new, warnings = bodies.resource(target.kind, data, _validation(request))
        prepared = self._writes.create(target, new, manager_of(request, target))
        target = target._replace(name=prepared.object.metadata.name)
        stored = prepared.object
        if _dry_run(request):
            if self._store.get(target.key()) is not None:
                raise status.already_exists(target.kind, target.name)
        else:
            try:
                [stored] = await self._store.commit([Put(target.key(), prepared.object, "")])
            except Conflict as conflict:
                raise status.already_exists(target.kind, target.name) from conflict
        return self._answer(request, target, stored, code=201, warnings=[*warnings, *prepared.warnings])

    async def _replace(self, request: web.Request, target: Target) -> web.Response:
        data = bodies.parse(await bodies.read(request), request.content_type)
        new, warnings = bodies.resource(target.kind, data, _validation(request))
        manager = manager_of(request, target)

        def change(old: Resource | None) -> Prepared:
            old = self._present(target, old)
            if target.kind.group and not new.metadata.resource_version:
                text = "Invalid value: 0x0: must be specified for an update"
                cause = {"reason": "FieldValueInvalid", "message": text, "field": "metadata.resourceVersion"}
                raise status.invalid(target.kind, target.name, [cause])
            return self._update(target, new, old, manager)

        return await self._change(request, target, change, warnings)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        body = bodies.parse(await bodies.read(request), request.content_type)
        validation, manager = _validation(request), manager_of(request, target)
        warnings: list[str] = []
        if request.content_type == _APPLY:
            if not request.query.get("fieldManager"):
                raise status.bad_request("fieldManager is required for apply patch")
            wanted, warnings = bodies.resource(target.kind, body, validation)
            force = request.query.get("force") in ("true", "1")
            manager = manager._replace(operation="Apply")
            return await self._change(
                request, target, lambda old: applied(self._writes, target, wanted, old, manager, force=force), warnings
            )
        patch = {_MERGE: patches.merge, _JSON: patches.json, _STRATEGIC: patches.strategic}.get(request.content_type)
        if patch is None:
            raise status.unsupported(request.content_type, [_JSON, _MERGE, _STRATEGIC, _APPLY])

        def change(old: Resource | None) -> Prepared:
            old = self._present(target, old)
            new, warnings[:] = bodies.resource(target.kind, patch(bodies.plain(old), body), validation)
            return self._update(target, new, old, manager)

        return await self._change(request, target, change, warnings)

    def _update(self, target: Target, new: Resource, old: Resource, manager: Manager) -> Prepared:
        if target.subresource == "status":
            return self._writes.update_status(target, new, old, manager)
        return self._writes.update(target, new, old, manager)

    async def _change(self, request: web.Request, target: Target, change: Change, warnings: list[str]) -> web.Response:
        """Until nobody was faster; a version that the client named is checked inside `change`."""
        key = target.key()
        for _ in range(TRIES):
            old = self._store.get(key)
            prepared = change(old)
            stored = prepared.object
            expect = "" if old is None else old.metadata.resource_version
            if not _dry_run(request):
                write = Delete(key, expect) if prepared.remove else Put(key, prepared.object, expect)
                try:
                    [stored] = await self._store.commit([write])
                except Conflict:
                    continue
            code = 201 if old is None else 200
            return self._answer(request, target, stored, code=code, warnings=[*warnings, *prepared.warnings])
        raise status.conflict(target.kind, target.name)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        wanted = await self._delete_options(request)
        for _ in range(TRIES):
            one = self._present(target, self._store.get(target.key()))
            deletes.check(target.kind, one, wanted)
            writes = deletes.plan(self._store, one, wanted, self._writes.deleting)
            if not wanted.dry_run:
                try:
                    await self._store.commit(writes)
                except Conflict:
                    continue
            if isinstance(writes[0], Put):
                return self._answer(request, target, self._store.get(target.key()) or writes[0].object)
            return _json(status.success(target.kind, target.name, one.metadata.uid))
        raise status.conflict(target.kind, target.name)

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        wanted = await self._delete_options(request)
        matches = _selector(request, target)
        for _ in range(TRIES):
            found = self._matching(target, matches)
            for one in found:
                deletes.check(target.kind, one, wanted)
            plans = [deletes.plan(self._store, one, wanted, self._writes.deleting) for one in found]
            # An object may be in several plans (a dependent of two): its first write is the one that is meant.
            writes = {write.key: write for plan in reversed(plans) for write in reversed(plan)}
            if not wanted.dry_run:
                try:
                    await self._store.commit(writes.values())
                except Conflict:
                    continue
            items = [to_builtins(one) for one in found]
            meta = {"resourceVersion": str(self._store.revision)}
            kind = target.kind
            return _json({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": items})
        raise status.conflict(target.kind, "")

    @staticmethod
    async def _delete_options(request: web.Request) -> deletes.Options:
        body = await bodies.read(request)
        data = bodies.parse(body, request.content_type) if body else None
        return deletes.options(data, dict(request.query))

    # answering

    @staticmethod
    def _present(target: Target, one: Resource | None) -> Resource:
        if one is None:
            raise status.not_found(target.kind, target.name)
        return one

    def _answer(
        self, request: web.Request, target: Target, one: Resource, *, code: int = 200, warnings: Iterable[str] = ()
    ) -> web.Response:
        form = tables.form(request.headers.get("Accept", ""))
        if form == "table":
            meta = {"resourceVersion": one.metadata.resource_version}
            include = request.query.get("includeObject", "")
            body = tables.table(target.kind, [one], now=self._clock.wall(), include=include, meta=meta)
        else:
            body = tables.partial(one) if form == "metadata" else to_builtins(one)
        return _json(body, code, warnings)


def manager_of(request: web.Request, target: Target) -> Manager:
    """fieldManager, or what the client calls itself."""
    agent = request.headers.get("User-Agent", "").partition("/")[0].strip()
    name = request.query.get("fieldManager") or agent or "unknown"
    if len(name) > 128 or not name.isprintable():
        raise status.bad_request("fieldManager: at most 128 printable characters")
    return Manager(name, "Update", target.kind.api_version, target.subresource)


def _selector(request: web.Request, target: Target) -> selectors.Predicate:
    query = request.query
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(target.kind, query.get("fieldSelector", ""))
    return selectors.both(by_label, by_field)


def _validation(request: web.Request) -> str:
    given = request.query.get("fieldValidation", "Warn")
    if given not in ("Strict", "Warn", "Ignore"):
        raise status.bad_request(f'fieldValidation: unsupported value "{given}": Strict, Warn or Ignore')
    return given


def _dry_run(request: web.Request) -> bool:
    given = request.query.getall("dryRun", [])
    if any(value != "All" for value in given):
        raise status.bad_request("dryRun: only All is supported")
    return bool(given)


async def _pieces(objects: list[Resource], shown: Callable[[Resource], Any]) -> list[msgspec.Raw]:
    """Each as JSON text, a few in a turn of the loop: a long list must not hold up a request. They do not change."""
    pieces = []
    for count, one in enumerate(objects, 1):
        pieces.append(msgspec.Raw(msgspec.json.encode(shown(one))))
        if count % LISTED_PER_TURN == 0:
            await asyncio.sleep(0)
    return pieces


def _json(body: Mapping[str, Any], code: int = 200, warnings: Iterable[str] = ()) -> web.Response:
    response = web.Response(body=msgspec.json.encode(body), status=code, content_type="application/json")
    for text in warnings:
        plain = " ".join(text.split())[:WARNING_CHARS_MAX].replace("\\", "\\\\").replace('"', '\\"')
        if sum(len(header) for header in response.headers.values()) + len(plain) > WARNINGS_CHARS_MAX:
            break
        response.headers.add("Warning", f'299 - "{plain}"')
    return response
