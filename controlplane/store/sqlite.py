"""The durable store: the view in memory, a journal in SQLite, one writer thread that commits in groups.

Path: api, reconcile, kubelet → [store] → journal → watchers.

While the writer is busy, commits wait; when it is free, all that wait are planned in order on top of each other and
written in one transaction. A commit is answered, and its changes become visible, only when that transaction is durable;
so is a Conflict, because what it lost against must be durable too. If the transaction fails, every commit in it gets
StoreFailed and nothing was visible. Commits of kinds that are not durable take the same queue (one order of revisions)
but no disk.

Cost: a commit alone is one fsync (about 0.3 ms on an SSD); commits that arrive meanwhile share the next one.
Source: design/ecosystem.md §1.10; controlplane/store/contract.py; reliability.md CP-02, CP-03.
"""

import asyncio
import functools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from controlplane.store.contract import Change, Key, StoreFailed, Watcher, Write
from controlplane.store.journal import RESERVE, Journal
from controlplane.store.view import HISTORY_MAX, Overlay, Plan, View
from dataplane.resources.kinds import BY_KIND
from dataplane.resources.meta import Resource

WAITING_MAX = 10_000  # commits; more means that the disk has stopped
GROUP_MAX = 512  # commits per transaction


class _Waiting(NamedTuple):
    writes: tuple[Write, ...]
    done: asyncio.Future[list[Resource]]


class _Group(NamedTuple):
    """Commits of one transaction, with what to answer when it is durable."""

    outcomes: list[tuple[asyncio.Future[list[Resource]], Plan | Exception]]
    changes: list[Change]
    durable: list[Change]
    reserved: int


class SqliteStore:
    """Opens the file at once (blocking: at start, before anything is served). Everything after runs beside the loop."""

    def __init__(self, path: Path | str, *, history_max: int = HISTORY_MAX) -> None:
        """Raises StoreFailed when the file cannot be used; the message says why and what to do."""
        self._journal = Journal(Path(path))
        self._view = View(self._journal.objects, revision=self._journal.revision, history_max=history_max)
        self._journal.objects = []
        self._reserved = self._journal.reserved
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
        self._writer.start()

    @property
    def revision(self) -> int:
        return self._view.revision

    def get(self, key: Key) -> Resource | None:
        return self._view.get(key)

    def objects(self, group: str, kind: str, namespace: str | None = None) -> list[Resource]:
        return self._view.objects(group, kind, namespace)

    def watch(self, watcher: Watcher, *, since: int | None = None) -> Callable[[], None]:
        return functools.partial(self._view.unwatch, self._view.watch(watcher, since))

    async def commit(self, writes: Iterable[Write]) -> list[Resource]:
        if self._closed:
            raise StoreFailed("the store is closed")
        if len(self._waiting) >= WAITING_MAX:
            raise StoreFailed(f"{WAITING_MAX} commits wait for the disk")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Resource]] = loop.create_future()
        self._waiting.append(_Waiting(tuple(writes), done))
        if not self._busy:
            self._next(loop)
        return await done

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        await self._idle.wait()
        self._orders.put(None)
        await asyncio.to_thread(self._writer.join)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next group, or rest. Groups that need no disk are done at once."""
        while self._waiting:
            group = self._plan()
            if group.durable or group.reserved != self._reserved:
                self._busy = True
                self._idle.clear()
                self._orders.put(functools.partial(self._write, group, loop))
                return
            self._settle(group)
        self._busy = False
        self._idle.set()

    def _plan(self) -> _Group:
        overlay = Overlay(self._view)
        outcomes: list[tuple[asyncio.Future[list[Resource]], Plan | Exception]] = []
        changes: list[Change] = []
        durable: list[Change] = []
        for _ in range(min(GROUP_MAX, len(self._waiting))):
            writes, done = self._waiting.popleft()
            if done.cancelled():  # the caller left before anything began
                continue
            try:
                plan = overlay.plan(writes)
            except Exception as error:  # Conflict; anything else is a bug of this caller and ends at this caller
                outcomes.append((done, error))
            else:
                outcomes.append((done, plan))
                changes += plan.changes
                durable += [c for c in plan.changes if BY_KIND[c.key.group, c.key.kind].durable]
        enough = overlay.revision <= self._reserved
        return _Group(outcomes, changes, durable, self._reserved if enough else overlay.revision + RESERVE)

    def _settle(self, group: _Group) -> None:
        self._view.apply(group.changes)
        for done, outcome in group.outcomes:
            if done.cancelled():
                continue
            if isinstance(outcome, Plan):
                done.set_result(outcome.results)
            else:
                done.set_exception(outcome)

    def _written(self, group: _Group, loop: asyncio.AbstractEventLoop, error: Exception | None) -> None:
        if error is None:
            self._reserved = group.reserved
            self._settle(group)
        else:
            for done, _ in group.outcomes:
                if not done.cancelled():
                    failed = StoreFailed(f"nothing was written: {error}")
                    failed.__cause__ = error
                    done.set_exception(failed)
        self._next(loop)

    # writer thread

    def _write_forever(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
        self._journal.close()

    def _write(self, group: _Group, loop: asyncio.AbstractEventLoop) -> None:
        error: Exception | None = None
        try:
            self._journal.write(group.durable, reserved=group.reserved)
        except Exception as raised:  # root of the thread: whatever it is, the callers must hear of it
            error = raised
        try:
            loop.call_soon_threadsafe(self._written, group, loop, error)
        except RuntimeError:  # the loop was closed without closing the store: nobody is left to tell
            pass
