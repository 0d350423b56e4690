"""What a resource store promises. Memory is the executable specification; SQLite survives kill -9 at any point.

Path: api, reconcile, kubelet → [store] → watchers.

Reads are answered from memory, at once, on the loop. Writes are awaited: when `commit` returns, they are durable
(as far as the store is) and every watcher has been called. All writes of one commit happen or none.

Objects are frozen structs of dataplane.resources, keyed by Key. The store sets `metadata.resourceVersion` (a decimal
counter over the whole store, another one for every change) and nothing else. A Put that would change nothing changes
nothing: the resourceVersion stays and no watcher is called. Kinds with `durable` False are as durable as the process.

Source: architecture.md "The four contracts" 4; reliability.md CP-02…CP-04.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, Protocol

from dataplane.resources.meta import Resource


class Key(NamedTuple):
    """Identity of an object. `group` is "" for core; `namespace` is "" for cluster-scoped kinds."""

    group: str
    kind: str
    namespace: str
    name: str


class Put(NamedTuple):
    """Create or replace. `expect`: resourceVersion that must be the present one; "" = must not exist; None = either."""

    key: Key
    object: Resource
    expect: str | None


class Delete(NamedTuple):
    """Remove. Finalizers and dependents are the caller's business. Missing is no error when expect is None."""

    key: Key
    expect: str | None = None


Write = Put | Delete


class Change(NamedTuple):
    """One committed write. DELETED: `object` is the last state, at the resourceVersion of the deletion."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: Key
    object: Resource
    revision: int


class Conflict(Exception):
    """`expect` did not hold. Nothing of the commit was written. `current` is what is there (None: nothing)."""

    def __init__(self, key: Key, current: Resource | None) -> None:
        super().__init__(f"{key.kind} {key.namespace}/{key.name} is not at the expected version")
        self.key = key
        self.current = current


class Gone(Exception):
    """The history before this revision is no longer kept: list again (HTTP 410)."""


class StoreFailed(Exception):
    """The medium failed (disk full, I/O error). Nothing of the commit is visible; reads still work."""


Watcher = Callable[[Change], None]


class Store(Protocol):
    @property
    def revision(self) -> int:
        """The newest resourceVersion."""
        ...

    def get(self, key: Key) -> Resource | None: ...

    def objects(self, group: str, kind: str, namespace: str | None = None) -> list[Resource]:
        """Objects of a kind, ordered by namespace and name; namespace None = all."""
        ...

    async def commit(self, writes: Iterable[Write]) -> list[Resource]:
        """All or nothing. Returns the stored objects in order (of a Delete the last state; nothing if it was missing).

        Raises:
            Conflict: an expectation did not hold.
            StoreFailed: the medium failed.
        """
        ...

    def watch(self, watcher: Watcher, *, since: int | None = None) -> Callable[[], None]:
        """Call `watcher` on the loop for each change of every kind, in order, once; returns the function that stops it.

        `since`: first replay what was committed after this revision. Raises Gone when that is no longer kept.
        The watcher must not block and must not raise.
        """
        ...

    async def close(self) -> None: ...
