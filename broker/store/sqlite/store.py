"""The embedded default: every broker a file in one folder, which one process owns.

Path: launch → [store] → log.py.

Source: store/contract.py; docs/decisions/0008.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

from broker.store.contract import LogSettings
from broker.store.meters import StoreMeters
from broker.store.sqlite import files
from broker.store.sqlite.files import Durability
from broker.store.sqlite.log import SqliteLog, open_file
from dataplane.clock import SYSTEM, Clock
from dataplane.errors import StoreFault, StoreUnavailable
from dataplane.telemetry.metrics import Registry

TAIL_BYTES_MAX = 64 * 1024 * 1024  # of all brokers together
TAIL_BYTES_EACH = 16 * 1024 * 1024

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class SqliteStore:
    """Implements EventStore."""

    def __init__(
        self,
        folder: Path | str,
        *,
        durability: Durability = "fsync",
        clock: Clock = SYSTEM,
        registry: Registry | None = None,
        on_broken: Callable[[str], None] = lambda _: None,
    ) -> None:
        """on_broken: called once, on the loop, when the disk failed so that this process must end, non-zero for its
        supervisor. What was acknowledged is on the disk; what else is there only a new process may look up."""
        self.durability: str = durability
        self._durability: Durability = durability
        self._folder = Path(folder)
        self._clock = clock
        self._meters = StoreMeters(registry or Registry())
        self._on_broken = on_broken
        self._broken = ""
        self._lock: int | None = None
        self._logs: dict[str, SqliteLog] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def start(self) -> None:
        """Raises StoreUnavailable while another process owns the folder."""
        if self._lock is None:
            self._lock = await asyncio.to_thread(_take, self._folder)

    async def open(self, broker: str, settings: LogSettings) -> SqliteLog:
        async with self._opening.setdefault(broker, asyncio.Lock()):
            log = self._logs.get(broker)
            if log is None:
                if self._lock is None:
                    raise StoreUnavailable("the store is not started, or closed")
                file, held = await asyncio.to_thread(open_file, self._path(broker), self._durability)
                log = self._logs[broker] = SqliteLog(
                    broker, file, held, settings, self._clock, self._meters, self._broke
                )
                self._share_tail()
            log.settings = settings
            return log

    async def delete(self, broker: str, settings: LogSettings | None = None) -> None:
        async with self._opening.setdefault(broker, asyncio.Lock()):
            log = self._logs.pop(broker, None)
            if log is not None:
                await log.close()
                self._share_tail()
            try:
                await asyncio.to_thread(files.remove, self._path(broker))
            except OSError as error:
                raise StoreFault(f"broker {broker}: {error}") from error

    def not_ready(self) -> str:
        if self._lock is None:
            return "the store is not started, or closed"
        return self._broken or next((log.fault for log in self._logs.values() if log.fault), "")

    async def close(self) -> None:
        for log in self._logs.values():
            await log.close()
        self._logs.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _path(self, broker: str) -> Path:
        namespace, _, name = broker.partition("/")
        if not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
            raise StoreFault(f"{broker!r} is no namespace/name of a broker: lower-case letters, digits, '-' and '.'")
        return self._folder / namespace / f"{name}.db"

    def _share_tail(self) -> None:
        each = min(TAIL_BYTES_EACH, TAIL_BYTES_MAX // max(1, len(self._logs)))
        for log in self._logs.values():
            log.tail.bytes_max = each

    def _broke(self, why: str) -> None:
        if not self._broken:
            self._broken = why
            self._on_broken(why)


def _take(folder: Path) -> int:
    """Lock file descriptor. Raises StoreFault."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreFault(f"{folder}: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreUnavailable(
            f"{folder} is in use by another process; stop it first, or take another --data directory"
        ) from None
    return lock
