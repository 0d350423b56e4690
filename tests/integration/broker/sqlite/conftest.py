"""A SQLite store on a folder, closed after the test."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from broker.store.sqlite.store import SqliteStore
from dataplane.clock import Clock

MakeStore = Callable[..., Awaitable[SqliteStore]]


@pytest.fixture
async def make_store(tmp_path: Path) -> AsyncIterator[MakeStore]:
    made: list[SqliteStore] = []

    async def make(folder: Path | None = None, **options: object) -> SqliteStore:
        options.setdefault("clock", Clock(time.monotonic, time.time))
        store = SqliteStore(folder or tmp_path / "events", **options)
        made.append(store)
        await store.start()
        return store

    yield make
    for store in made:
        await store.close()
