"""The present state in memory: objects, bounded change history, watchers. Every store answers reads from one.

Path: store.memory | store.sqlite → [view] → watchers.

A write is planned first (pure: expectations checked, revisions given, nothing changed) and applied later in one turn of
the loop, so that a store may put a disk between the two. Plans may be stacked: an Overlay is what the world looks like
when the plans before have been applied.

A Put that changes nothing is no change: same resourceVersion, no call of watchers. That is what keeps level-triggered
reconcilers quiet, and what Kubernetes' own store does.

Source: reliability.md CP-02, CP-03, CP-04.
"""

import bisect
import itertools
import logging
from collections import deque
from collections.abc import Iterable

import msgspec

from controlplane.store.contract import Change, Conflict, Gone, Key, Put, Watcher, Write
from dataplane.resources.meta import Resource

log = logging.getLogger(__name__)

HISTORY_MAX = 10_000  # changes kept for watchers that come back; older = Gone
_LAST = "\U0010ffff"


class Plan:
    """What one commit will do: the changes, and what `commit` returns for it."""

    __slots__ = ("changes", "results")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.results: list[Resource] = []


class Overlay:
    """The view plus plans that are not applied yet."""

    __slots__ = ("_changed", "_view", "revision")

    def __init__(self, view: "View") -> None:
        self._view = view
        self._changed: dict[Key, Resource | None] = {}
        self.revision = view.revision

    def get(self, key: Key) -> Resource | None:
        return self._changed[key] if key in self._changed else self._view.get(key)

    def plan(self, writes: Iterable[Write]) -> Plan:
        """Stack one commit on this overlay. Raises Conflict; the overlay is then as before."""
        planning = Planning(self)
        for write in writes:
            planning.add(write)
        return planning.done()

    def merge(self, changed: dict[Key, Resource | None], revision: int) -> None:
        self._changed.update(changed)
        self.revision = revision


class Planning:
    """One commit being planned, write by write; the overlay knows of it when it is done, not before."""

    __slots__ = ("_changed", "_overlay", "_plan", "_revision")

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._plan = Plan()
        self._revision = overlay.revision
        self._changed: dict[Key, Resource | None] = {}

    def add(self, write: Write) -> None:
        """Raises Conflict; then nothing of the commit happens."""
        key, plan = write.key, self._plan
        current = self._changed[key] if key in self._changed else self._overlay.get(key)
        version = current.metadata.resource_version if current is not None else ""
        if write.expect is not None and write.expect != version:
            raise Conflict(key, current)
        if isinstance(write, Put):
            if current is not None and _at(write.object, version) == current:
                plan.results.append(current)
                return
            self._revision += 1
            stored = _at(write.object, str(self._revision))
            plan.changes.append(Change("ADDED" if current is None else "MODIFIED", key, stored, self._revision))
            self._changed[key] = stored
        else:
            if current is None:
                return
            self._revision += 1
            stored = _at(current, str(self._revision))
            plan.changes.append(Change("DELETED", key, stored, self._revision))
            self._changed[key] = None
        plan.results.append(stored)

    def done(self) -> Plan:
        self._overlay.merge(self._changed, self._revision)
        return self._plan


class View:
    """Objects by key and, per kind, in order; the newest `history_max` changes; who wants to hear of the next."""

    __slots__ = (
        "_floor",
        "_history",
        "_history_max",
        "_kinds",
        "_objects",
        "_sorted",
        "_tokens",
        "_watchers",
        "revision",
    )

    def __init__(self, objects: Iterable[tuple[Key, Resource]] = (), *, revision: int = 0, history_max: int) -> None:
        """`revision`: of the last change before now; the history starts here."""
        self.revision = revision
        self._objects: dict[Key, Resource] = dict(objects)
        self._kinds: dict[tuple[str, str], set[Key]] = {}
        for key in self._objects:
            self._kinds.setdefault((key.group, key.kind), set()).add(key)
        self._sorted: dict[tuple[str, str], list[Key]] = {}
        self._history: deque[Change] = deque()
        self._history_max = history_max
        self._floor = revision
        self._watchers: dict[int, Watcher] = {}
        self._tokens = itertools.count()

    def get(self, key: Key) -> Resource | None:
        return self._objects.get(key)

    def objects(self, group: str, kind: str, namespace: str | None) -> list[Resource]:
        keys = self._sorted.get((group, kind))
        if keys is None:
            keys = self._sorted[group, kind] = sorted(self._kinds.get((group, kind), ()))
        if namespace is not None:
            first = bisect.bisect_left(keys, Key(group, kind, namespace, ""))
            last = bisect.bisect_right(keys, Key(group, kind, namespace, _LAST))
            keys = keys[first:last]
        return [self._objects[key] for key in keys]

    def apply(self, changes: Iterable[Change]) -> None:
        """Make changes visible, all at once, then tell the watchers that were there before."""
        changes = tuple(changes)
        watching = self.show(changes)
        for change in changes:
            self.tell(change, watching)

    def show(self, changes: Iterable[Change]) -> tuple[int, ...]:
        """Make changes visible, all at once. Returns whom to `tell` of each of them, in order, before the next show."""
        for change in changes:
            assert change.revision > self.revision, "revisions only grow"
            self.revision = change.revision
            kind = (change.key.group, change.key.kind)
            if change.type == "DELETED":
                del self._objects[change.key]
                self._kinds[kind].discard(change.key)
            else:
                self._objects[change.key] = change.object
                self._kinds.setdefault(kind, set()).add(change.key)
            if change.type != "MODIFIED":
                self._sorted.pop(kind, None)
            self._history.append(change)
        while len(self._history) > self._history_max:
            self._floor = self._history.popleft().revision
        return tuple(self._watchers)

    def tell(self, change: Change, watching: tuple[int, ...]) -> None:
        for token in watching:
            if watcher := self._watchers.get(token):
                try:
                    watcher(change)
                except Exception:  # a broken watcher breaks its promise, not everybody else's commit
                    log.exception("watcher_failed kind=%s name=%s", change.key.kind, change.key.name)

    def watch(self, watcher: Watcher, since: int | None) -> int:
        """Replay what came after `since`, then register. Returns the token for `unwatch`. Raises Gone."""
        if since is not None:
            if not self._floor <= since <= self.revision:
                raise Gone(f"changes after {since} are not kept (oldest {self._floor}, newest {self.revision})")
            missed = itertools.takewhile(lambda change: change.revision > since, reversed(self._history))
            for change in reversed(list(missed)):
                watcher(change)
        token = next(self._tokens)
        self._watchers[token] = watcher
        return token

    def unwatch(self, token: int) -> None:
        self._watchers.pop(token, None)


def _at(one: Resource, version: str) -> Resource:
    if one.metadata.resource_version == version:
        return one
    return msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, resource_version=version))
