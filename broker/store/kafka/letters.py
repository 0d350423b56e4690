"""The letters of one trigger, for people: list, redrive, discard; from any process of the broker.

Path: inspection → read.py → [letters] → kept.py.

Redriven ones become scheduled, due at once; whoever owns the kept topic in the trigger's group delivers them.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence

from broker.store.contract import Done, Failure, Kept, Letter
from broker.store.kafka.kept import Entry, Found, Note
from broker.store.kafka.kept import Kept as KeptTopic
from dataplane.errors import StoreFault

SLICE = 500  # events in memory at once


class Letters:
    """trigger: its uid."""

    def __init__(self, kept: KeptTopic, trigger: str) -> None:
        self._kept = kept
        self._trigger = trigger

    async def read(self, kept: Kept | None, after: str, limit: int) -> list[Letter]:
        first = int(after) if after.isascii() and after.isdigit() else -1
        later = (entry for entry in await self._entries(kept) if entry.id > first)
        chosen = list(itertools.islice(later, limit))
        return [_letter(found) for found in await self._kept.fetch(chosen)]

    async def redrive(self, ids: Sequence[str] | None, kept: Kept) -> int:
        chosen = _chosen(await self._entries(kept), ids)
        for at in range(0, len(chosen), SLICE):
            found = await self._kept.fetch(chosen[at : at + SLICE])
            await written([self._again(one) for one in found])
        return len(chosen)

    def _again(self, found: Found) -> Callable[[Done], None]:
        note = found.note
        again = Note(trigger=note.trigger, name=note.name, position=note.position, state="scheduled")
        return lambda done: self._kept.put(again, found.record, done)

    async def discard(self, ids: Sequence[str] | None, kept: Kept) -> int:
        chosen = _chosen(await self._entries(kept), ids)
        await written([self._drop(entry) for entry in chosen])
        return len(chosen)

    def _drop(self, entry: Entry) -> Callable[[Done], None]:
        return lambda done: self._kept.drop(self._trigger, entry.key, done)

    async def _entries(self, kept: Kept | None) -> Iterator[Entry]:
        await self._kept.caught_up()
        return self._kept.entries(self._trigger, (kept,) if kept else ("parked", "dead-lettered"))


async def written(writes: Sequence[Callable[[Done], None]]) -> None:
    """Start them all, return when each is durable. Raises the first fault."""
    if not writes:
        return
    left = len(writes)
    finished: asyncio.Future[StoreFault | None] = asyncio.get_running_loop().create_future()

    def one(fault: StoreFault | None) -> None:
        nonlocal left
        left -= 1
        if not finished.done() and (fault is not None or not left):
            finished.set_result(fault)

    for write in writes:
        write(one)
    fault = await finished
    if fault is not None:
        raise fault


def _letter(found: Found) -> Letter:
    note = found.note
    return Letter(
        id=str(found.entry.id),
        kept="parked" if note.state == "parked" else "dead-lettered",
        record=found.record,
        position=note.position,
        failure=note.failure or Failure(reason="lost"),
    )


def _chosen(entries: Iterator[Entry], ids: Sequence[str] | None) -> list[Entry]:
    if ids is None:
        return list(entries)
    wanted = set(ids)
    return [entry for entry in entries if str(entry.id) in wanted]
