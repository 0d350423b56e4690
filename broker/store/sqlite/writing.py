"""The thread that writes a broker's file: one order after the other, each told on the loop how it went.

Path: groups.py, retention.py, log.py → [writing] → files.py.

After a failure that is fatal (files.py) no order touches the file again: it is told the same error.

Source: reliability.md BR-06, BR-08.
"""

import asyncio
import functools
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from broker.store.sqlite import faults
from broker.store.sqlite.files import BrokerFile
from dataplane.errors import StoreUnavailable

T = TypeVar("T")


class Writer:
    """One per broker. `failed` is called once, on the loop, with the error that was fatal."""

    def __init__(self, file: BrokerFile, failed: Callable[[Exception], None]) -> None:
        self._file = file
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._dead: Exception | None = None
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Run `work` on the thread; `done` with what it returned or raised, later, on the loop."""

        def order() -> None:
            outcome: T | Exception
            try:
                if self._dead is not None:
                    raise self._dead
                outcome = work()
            except Exception as error:  # root of the thread: whatever it is, the caller must hear of it
                outcome = error
                self.look_at(error)
            self._tell(functools.partial(done, outcome))

        self._orders.put(order)

    async def order(self, work: Callable[[], T]) -> T:
        """The same for people. Raises StoreFault."""
        told: asyncio.Future[T | Exception] = self._loop.create_future()
        self.put(work, lambda outcome: None if told.done() else told.set_result(outcome))
        outcome = await told
        if isinstance(outcome, sqlite3.Error):
            raise StoreUnavailable(f"{self._file.path}: {outcome}") from outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def look_at(self, error: Exception) -> None:
        """On the thread: an error that an order met, whether it goes on or not."""
        if self._dead is None and faults.fatal(error):
            self._dead = error
            self._tell(functools.partial(self._failed, error))

    async def close(self) -> None:
        """After the orders that wait."""
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            order()
        if self._dead is not None:
            self._file.give_up()
        else:
            self._file.close()

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop was closed without closing the store: nobody is left to tell
            pass
