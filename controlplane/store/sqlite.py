"""The durable store: the view in memory, a journal in SQLite, one writer thread that commits in groups.

Path: api, reconcile, kubelet → [store] → journal → watchers.

While the writer is busy, commits wait; when it is free, all that wait are planned in order on top of each other and
written in one transaction. A commit is answered, and its changes become visible, only when that transaction is durable;
so is a Conflict, because what it lost against must be durable too. If the transaction fails, every commit in it gets
StoreFailed and nothing was visible. Commits of kinds that are not durable take the same queue (one order of revisions)
but no disk.

A turn of the loop plans or tells at most WRITES_PER_TURN; a large commit takes several. Its changes become visible
together, watchers hear of them one after the other, and the next commit is not visible before they have heard of all.

Cost: a commit alone is one fsync (about 0.3 ms on an SSD); commits that arrive meanwhile share the next one.
Source: design/ecosystem.md §1.10; controlplane/store/contract.py; reliability.md CP-02, CP-03.
"""

import asyncio
import functools
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import NamedTuple

from controlplane.store.contract import Change, Key, StoreFailed, Watcher, Write
from controlplane.store.journal import RESERVE, Journal
from controlplane.store.view import HISTORY_MAX, Overlay, Plan, Planning, View
from dataplane.resources.kinds import BY_KIND
from dataplane.resources.meta import Resource

WAITING_MAX = 10_000  # commits; more means that the disk has stopped
GROUP_MAX = 128  # commits per transaction
WRITES_PER_TURN = 40  # planned, or told to watchers, in one turn of the loop


class _Waiting(NamedTuple):
    writes: tuple[Write, ...]
    done: asyncio.Future[list[Resource]]


class _Transaction(NamedTuple):
    """What one group has for the disk."""

    changes: list[Change]
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
        self._group: Generator[_Transaction | None, Exception | None, None] | None = None
        self._left = WRITES_PER_TURN
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
            self._busy = True
            self._idle.clear()
            self._go_on(loop)
        return await done

    async def close(self) -> None:
        """Write what waits, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        await self._idle.wait()
        self._orders.put(None)
        await asyncio.to_thread(self._writer.join)

    def _go_on(self, loop: asyncio.AbstractEventLoop, error: Exception | None = None) -> None:
        """Work until the turn is full, the disk has something to do, or nothing waits. `error`: what the disk said."""
        self._left = WRITES_PER_TURN
        while True:
            if self._group is None:
                if not self._waiting:
                    self._busy = False
                    self._idle.set()
                    return
                self._group = self._course()
            try:
                order = self._group.send(error)
            except StopIteration:
                self._group, error = None, None
                continue
            if order is None:
                loop.call_soon(self._go_on, loop)
            else:
                self._orders.put(functools.partial(self._write, order, loop))
            return

    def _course(self) -> Generator[_Transaction | None, Exception | None, None]:
        """One group, from its first write to its last answer. Yields None at the end of a turn, and what is for the
        disk; that is answered with the error, or None when it is durable."""
        overlay = Overlay(self._view)
        outcomes: list[tuple[asyncio.Future[list[Resource]], Plan | Exception]] = []
        durable: list[Change] = []
        while self._waiting and len(outcomes) < GROUP_MAX:
            writes, done = self._waiting.popleft()
            if done.cancelled():  # the caller left before anything began
                continue
            planning = Planning(overlay)
            try:
                for write in writes:
                    planning.add(write)
                    if self._turn_is_full():
                        yield None
            except Exception as error:  # Conflict; anything else is a bug of this caller and ends at this caller
                outcomes.append((done, error))
            else:
                plan = planning.done()
                outcomes.append((done, plan))
                durable += [c for c in plan.changes if BY_KIND[c.key.group, c.key.kind].durable]
        reserved = self._reserved if overlay.revision <= self._reserved else overlay.revision + RESERVE
        if durable or reserved != self._reserved:
            failure = yield _Transaction(durable, reserved)
            if failure is not None:
                _refuse(outcomes, failure)
                return
            self._reserved = reserved
        for done, outcome in outcomes:
            if isinstance(outcome, Plan):
                watching = self._view.show(outcome.changes)
                for change in outcome.changes:
                    self._view.tell(change, watching)
                    if self._turn_is_full():
                        yield None
            if not done.cancelled():
                if isinstance(outcome, Plan):
                    done.set_result(outcome.results)
                else:
                    done.set_exception(outcome)

    def _turn_is_full(self) -> bool:
        """After each write that was planned, and each change that was told."""
        self._left -= 1
        return self._left <= 0

    # writer thread

    def _write_forever(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
        self._journal.close()

    def _write(self, order: _Transaction, loop: asyncio.AbstractEventLoop) -> None:
        error: Exception | None = None
        try:
            self._journal.write(order.changes, reserved=order.reserved)
        except Exception as raised:  # root of the thread: whatever it is, the callers must hear of it
            error = raised
        try:
            loop.call_soon_threadsafe(self._go_on, loop, error)
        except RuntimeError:  # the loop was closed without closing the store: nobody is left to tell
            pass


def _refuse(outcomes: list[tuple[asyncio.Future[list[Resource]], Plan | Exception]], error: Exception) -> None:
    for done, _ in outcomes:
        if not done.cancelled():
            failed = StoreFailed(f"nothing was written: {error}")
            failed.__cause__ = error
            done.set_exception(failed)
