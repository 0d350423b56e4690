"""Several objects or none: `POST /dataplane/v1/apply`, what `dataplane apply` and `dataplane up -f` use.

Path: command line → [bulk] → applying, for each object → one store.commit.

The body is a JSON list of objects. All are checked before anything is written; every mistake of every object is in the
answer (HTTP 400, details.causes, `field` = `[index]`). Then one commit: a crash leaves all or nothing (CP-02).

Each object is applied as server-side apply with force: what the file says wins, what the file no longer says goes.
Query: dryRun=All, fieldManager, fieldValidation (Strict unless given). Answer: a list of
`{"object": …, "action": "created" | "configured" | "unchanged", "warnings": […]}` in the order of the body.

Source: reliability.md CP-02.
"""

import asyncio
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from controlplane.api import bodies, status
from controlplane.api.applying import applied
from controlplane.api.fieldsets import Manager
from controlplane.api.objects import TRIES
from controlplane.api.target import Target
from controlplane.api.writes import Prepared, Writes
from controlplane.store.contract import Conflict, Delete, Put, Store, Write
from dataplane.resources.kinds import BY_KIND, to_builtins
from dataplane.resources.meta import Resource

BODY_BYTES_MAX = 64 * 1024 * 1024
OBJECTS_MAX = 20_000
OBJECTS_PER_TURN = 4  # read, checked or answered in one turn of the loop

_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class _Item(NamedTuple):
    target: Target
    wanted: Resource
    warnings: list[str]


class Bulk:
    def __init__(self, *, store: Store, writes: Writes) -> None:
        self._store = store
        self._writes = writes

    async def handle(self, request: web.Request) -> web.Response:
        query = request.query
        dry_run = bool(query.get("dryRun"))
        if query.get("dryRun", "All") != "All":
            raise status.bad_request("dryRun: only All is supported")
        data = _pieces(await bodies.read(request, BODY_BYTES_MAX), request.content_type)
        answer = await self.apply(
            data,
            manager=query.get("fieldManager") or "dataplane",
            validation=query.get("fieldValidation") or "Strict",
            dry_run=dry_run,
        )
        pieces = []
        for n, one in enumerate(answer, 1):
            pieces.append(msgspec.json.encode(one))
            await _breathe(n)
        return web.Response(body=b"[" + b",".join(pieces) + b"]", content_type="application/json")

    async def apply(
        self, data: Any, *, manager: str, validation: str = "Strict", dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Raises ApiError: 400 with all mistakes; 409 when others kept changing the same objects."""
        items, mistakes = await self._read(data, validation)
        namespaces = frozenset(one.target.name for one in items.values() if one.target.kind.kind == "Namespace")
        for _ in range(TRIES):
            old = {n: self._store.get(item.target.key()) for n, item in items.items()}
            prepared: dict[int, Prepared] = {}
            found = dict(mistakes)
            for n, item in items.items():
                who = Manager(manager, "Apply", item.target.kind.api_version)
                try:
                    prepared[n] = applied(
                        self._writes, item.target, item.wanted, old[n], who, force=True, namespaces=namespaces
                    )
                except status.ApiError as error:
                    found[n] = error
                await _breathe(n + 1)
            if found:
                raise _refused(found)
            stored = {n: one.object for n, one in prepared.items()}
            if not dry_run:
                try:
                    results = await self._store.commit(
                        _write(items[n].target, one, old[n]) for n, one in prepared.items()
                    )
                except Conflict:
                    continue
                stored = dict(zip(prepared, results, strict=True))
            answer = []
            for n, item in items.items():
                warnings = [*item.warnings, *prepared[n].warnings]
                action = _action(old[n], stored[n])
                answer.append({"object": to_builtins(stored[n]), "action": action, "warnings": warnings})
                await _breathe(n + 1)
            return answer
        raise status.ApiError(409, "Conflict", "others keep changing the same objects; please try again", {})

    @staticmethod
    async def _read(data: Any, validation: str) -> tuple[dict[int, _Item], dict[int, status.ApiError]]:
        if not isinstance(data, list):
            raise status.bad_request("the body is a list of objects")
        if len(data) > OBJECTS_MAX:
            raise status.bad_request(f"at most {OBJECTS_MAX} objects at once")
        items: dict[int, _Item] = {}
        mistakes: dict[int, status.ApiError] = {}
        seen: dict[Any, int] = {}
        for n, one in enumerate(data):
            try:
                item = _item(one, validation)
                first = seen.setdefault(item.target.key(), n)
                if first != n:
                    raise status.bad_request(f"the same object is already at [{first}]")
                items[n] = item
            except status.ApiError as error:
                mistakes[n] = error
            await _breathe(n + 1)
        return items, mistakes


async def _breathe(count: int) -> None:
    """A turn of the loop after every few objects: a thousand of them must not hold up a request."""
    if count % OBJECTS_PER_TURN == 0:
        await asyncio.sleep(0)


def _pieces(body: bytes, content_type: str) -> Any:
    """The body; of a JSON list its objects still as text, so that they can be read a few at a time."""
    if "json" in content_type:
        try:
            return _LIST.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # whatever it is, the reader of single bodies says it in words
    return bodies.parse(body, content_type)


def _item(data: Any, validation: str) -> _Item:
    if isinstance(data, msgspec.Raw):
        if len(data) > bodies.BODY_BYTES_MAX:
            raise status.too_large(bodies.BODY_BYTES_MAX)
        data = bodies.parse(bytes(data), "application/json")
    if not isinstance(data, dict):
        raise status.bad_request("not an object")
    if len(msgspec.json.encode(data)) > bodies.BODY_BYTES_MAX:
        raise status.too_large(bodies.BODY_BYTES_MAX)
    api_version, name = str(data.get("apiVersion", "")), str(data.get("kind", ""))
    kind = BY_KIND.get((api_version.rpartition("/")[0], name))
    if kind is None or kind.api_version != api_version:
        raise status.bad_request(f'no matches for kind "{name}" in version "{api_version}"')
    wanted, warnings = bodies.resource(kind, data, validation)
    meta = wanted.metadata
    if not meta.name:
        raise status.bad_request("metadata.name: Required value: name is required")
    namespace = (meta.namespace or "default") if kind.namespaced else ""
    return _Item(Target(kind, namespace, meta.name), wanted, warnings)


def _write(target: Target, prepared: Prepared, old: Resource | None) -> Write:
    expect = "" if old is None else old.metadata.resource_version
    return Delete(target.key(), expect) if prepared.remove else Put(target.key(), prepared.object, expect)


def _action(old: Resource | None, new: Resource) -> str:
    if old is None:
        return "created"
    meta = msgspec.structs.replace(
        new.metadata,
        resource_version=old.metadata.resource_version,
        managed_fields=old.metadata.managed_fields,
    )
    return "unchanged" if msgspec.structs.replace(new, metadata=meta) == old else "configured"


def _refused(errors: dict[int, status.ApiError]) -> status.ApiError:
    causes = [
        {"reason": error.reason, "message": error.message, "field": f"[{n}]"} for n, error in sorted(errors.items())
    ]
    return status.ApiError(400, "Invalid", "; ".join(cause["message"] for cause in causes), {"causes": causes})
