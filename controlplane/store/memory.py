"""The store that keeps nothing: the contract, executable.

Path: api, reconcile, kubelet → [store] → watchers.

For `dataplane up --in-memory`, for tests, and as the specification the other stores are compared with.

Source: controlplane/store/contract.py.
"""

import functools
from collections.abc import Callable, Iterable

from controlplane.store.contract import Key, Watcher, Write
from controlplane.store.view import HISTORY_MAX, Overlay, View
from dataplane.resources.meta import Resource


class MemoryStore:
    """A commit is planned and applied in the turn of the loop that awaits it."""

    def __init__(self, *, history_max: int = HISTORY_MAX) -> None:
        self._view = View(history_max=history_max)

    @property
    def revision(self) -> int:
        return self._view.revision

    def get(self, key: Key) -> Resource | None:
        return self._view.get(key)

    def objects(self, group: str, kind: str, namespace: str | None = None) -> list[Resource]:
        return self._view.objects(group, kind, namespace)

    async def commit(self, writes: Iterable[Write]) -> list[Resource]:
        plan = Overlay(self._view).plan(writes)
        self._view.apply(plan.changes)
        return plan.results

    def watch(self, watcher: Watcher, *, since: int | None = None) -> Callable[[], None]:
        return functools.partial(self._view.unwatch, self._view.watch(watcher, since))

    async def close(self) -> None:
        pass
