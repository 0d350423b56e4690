"""Changes as they happen: newline-delimited JSON, from a resourceVersion on, for as long as the client keeps up.

Path: store (calls `_Stream.hear` on the loop) → bounded queue → [watch] → one slow or fast client.

No change is lost or doubled: the list that starts a stream and the registration in the store happen in the same turn.
A client that does not read is dropped when QUEUE_MAX changes wait for it; it comes back with its last resourceVersion
and gets the rest, or 410 and lists again (CP-04). Bookmarks tell quiet clients how far they are.

With a selector, an object that begins or ceases to match is ADDED or DELETED. A stream that resumes cannot know what
its client had: an object that existed then and does not match now is DELETED once more, which does no harm.

Source: Kubernetes API concepts, "Efficient detection of changes", "Streaming lists"; reliability.md CP-04.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from controlplane.api import status, tables
from controlplane.api.selectors import Predicate, always
from controlplane.api.target import Target, key_of
from controlplane.store.contract import Change, Gone, Key, Store
from dataplane.clock import Clock
from dataplane.resources.kinds import to_builtins
from dataplane.resources.meta import Resource

QUEUE_MAX = 1000  # changes that wait for one client
BATCH_MAX = 100  # events per write
BOOKMARK_S = 60.0  # as kube-apiserver, about
TIMEOUT_S = 3600.0  # of a watch that names none

Body = dict[str, Any]


class Shape(NamedTuple):
    """How the objects of a stream are written."""

    form: tables.Form
    include: str = ""


class Start(NamedTuple):
    """Where a stream begins. `since` None: with everything that is there, as ADDED."""

    since: int | None
    bookmarks: bool = False
    initial_end: bool = False  # mark the end of what was there (sendInitialEvents)
    timeout_s: float = TIMEOUT_S


def start(request: web.Request) -> Start:
    """Raises ApiError 400."""
    query = request.query
    version, timeout = query.get("resourceVersion", ""), query.get("timeoutSeconds", "")
    if not (version or "0").isdecimal() or not (timeout or "0").isdecimal():
        raise status.bad_request("resourceVersion and timeoutSeconds are numbers")
    initial = query.get("sendInitialEvents") == "true"
    return Start(
        since=None if initial or version in ("", "0") else int(version),
        bookmarks=query.get("allowWatchBookmarks") in ("true", "1"),
        initial_end=initial,
        timeout_s=min(float(timeout or 0), TIMEOUT_S) or TIMEOUT_S,
    )


class Watches:
    """Every stream of the app; `close` ends them, so that the server can stop."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._streams: set[_Stream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def close(self) -> None:
        for stream in self._streams:
            stream.end()

    async def serve(
        self, request: web.Request, target: Target, matches: Predicate, begin: Start, shape: Shape
    ) -> web.StreamResponse:
        """Runs as long as the stream. Raises ApiError 410 when `since` is no longer kept."""
        stream = _Stream(target, matches, request.transport)
        before = {key_of(target.kind, one): one for one in self._objects(target)}
        try:
            stop = self._store.watch(stream.hear, since=begin.since)
        except Gone as error:
            raise status.gone(f"too old resource version: {begin.since} ({error})") from error
        self._streams.add(stream)
        try:
            return await self._run(request, stream, before, begin, shape)
        finally:
            stop()
            self._streams.discard(stream)

    def _objects(self, target: Target) -> list[Resource]:
        kind = target.kind
        return self._store.objects(kind.group, kind.kind, target.namespace or None)

    async def _run(
        self, request: web.Request, stream: "_Stream", before: dict[Key, Resource], begin: Start, shape: Shape
    ) -> web.StreamResponse:
        writer = _Writer(stream.target, shape, self._clock)
        if begin.since is None:
            initial = [one for one in before.values() if stream.matches(one)]
            stream.known = {key_of(stream.target.kind, one) for one in initial}
        else:
            initial = []
            stream.resume(before)
        revision = self._store.revision
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for first in range(0, len(initial), BATCH_MAX):
            await stream.send(response, [writer.event("ADDED", one) for one in initial[first : first + BATCH_MAX]])
        if begin.initial_end:
            await stream.send(response, [writer.bookmark(revision, initial_end=True)])

        loop = asyncio.get_running_loop()
        deadline = loop.time() + begin.timeout_s
        bookmark_at = loop.time() + BOOKMARK_S
        while not stream.ended:
            if stream.overflowed:
                await stream.send(response, [writer.error(status.gone("the client reads too slowly").body())])
                break
            if events := list(stream.take(BATCH_MAX)):
                await stream.send(response, [writer.event(kind, one) for kind, one in events])
                continue
            revision = self._store.revision  # nothing waits, so everything up to here was sent
            if loop.time() >= min(deadline, bookmark_at):
                if begin.bookmarks:
                    await stream.send(response, [writer.bookmark(revision)])
                if loop.time() >= deadline:
                    break
                bookmark_at = loop.time() + BOOKMARK_S
            await stream.wait(min(deadline, bookmark_at) if begin.bookmarks else deadline)
        await response.write_eof()
        return response


class _Stream:
    """What one client has still to be told."""

    __slots__ = ("_awake", "_queue", "_sending", "_transport", "ended", "known", "matches", "overflowed", "target")

    def __init__(self, target: Target, matches: Predicate, transport: asyncio.Transport | None) -> None:
        self.target = target
        self.matches = matches
        self.known: set[Key] = set()  # what the client has; not kept when everything matches
        self.overflowed = False
        self.ended = False
        self._queue: deque[Change] = deque()
        self._awake = asyncio.Event()
        self._sending = False
        self._transport = transport

    def hear(self, change: Change) -> None:
        """The store's watcher: never blocks."""
        key, target = change.key, self.target
        if (key.group, key.kind) != (target.kind.group, target.kind.kind) or self.overflowed:
            return
        if target.namespace and key.namespace != target.namespace:
            return
        if len(self._queue) >= QUEUE_MAX:
            self.overflowed = True
            self._queue.clear()
            if self._sending and self._transport is not None:  # it does not even take what was written
                self._transport.abort()
        else:
            self._queue.append(change)
        self._awake.set()

    def end(self) -> None:
        self.ended = True
        self._awake.set()

    def resume(self, now: dict[Key, Resource]) -> None:
        """What the client may have had at the revision it resumes from: the queue holds what happened since."""
        if self.matches is always:
            return
        first: dict[Key, Change] = {}
        for change in self._queue:
            first.setdefault(change.key, change)
        self.known = {key for key, change in first.items() if change.type != "ADDED"}
        self.known |= {key for key, one in now.items() if key not in first and self.matches(one)}

    def take(self, most: int) -> Iterable[tuple[str, Resource]]:
        """The next events, as the client must see them."""
        while self._queue and most > 0:
            change = self._queue.popleft()
            event = self._seen(change)
            if event:
                most -= 1
                yield event, change.object

    def _seen(self, change: Change) -> str:
        if self.matches is always:
            return change.type
        was, now = change.key in self.known, change.type != "DELETED" and self.matches(change.object)
        if now:
            self.known.add(change.key)
            return "MODIFIED" if was else "ADDED"
        self.known.discard(change.key)
        return "DELETED" if was else ""

    async def send(self, response: web.StreamResponse, lines: list[bytes]) -> None:
        self._sending = True
        await response.write(b"".join(lines))
        self._sending = False

    async def wait(self, deadline: float) -> None:
        """Until there is something to do, or the deadline (loop seconds)."""
        self._awake.clear()
        if self._queue or self.ended or self.overflowed:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._awake.wait()
        except TimeoutError:
            pass


class _Writer:
    """Events of one stream as lines."""

    __slots__ = ("_clock", "_columns", "_shape", "_target")

    def __init__(self, target: Target, shape: Shape, clock: Clock) -> None:
        self._target = target
        self._shape = shape
        self._clock = clock
        self._columns = True  # only the first table says what its columns are

    def event(self, kind: str, one: Resource) -> bytes:
        return _line(kind, self._body(one))

    def error(self, body: Body) -> bytes:
        return _line("ERROR", body)

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        kind = self._target.kind
        meta: Body = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._shape.form == "table":
            return _line("BOOKMARK", {**tables.table(kind, [], now=0, columns=False), "metadata": meta})
        if self._shape.form == "metadata":
            return _line(
                "BOOKMARK", {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
            )
        return _line("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta})

    def _body(self, one: Resource) -> Body:
        if self._shape.form == "object":
            return to_builtins(one)
        if self._shape.form == "metadata":
            return tables.partial(one)
        columns, self._columns = self._columns, False
        meta = {"resourceVersion": one.metadata.resource_version}
        now, include = self._clock.wall(), self._shape.include
        return tables.table(self._target.kind, [one], now=now, include=include, columns=columns, meta=meta)


def _line(kind: str, body: Body) -> bytes:
    return msgspec.json.encode({"type": kind, "object": body}) + b"\n"
