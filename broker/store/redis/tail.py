"""Reads new entries of a broker once, for all its triggers in this process.

Path: Redis → [tail] → cursor.py of every trigger that is at the head.

A connection of its own, because a blocked read stalls what shares it. The tail runs while at least one cursor follows
it. A cursor that has no room for what matched stops following and reads for itself (cursor.py); so the tail waits for
nobody and keeps nothing.

Bound: one batch, `BATCH_BYTES` as long as events are about as large as the ones before.

Source: spec/eventing.md §27.5; decision 0006.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from redis.exceptions import RedisError

from broker.store.contract import Record
from broker.store.redis.connect import Connection, Reply, connect, meaning, pack
from broker.store.redis.flat import unflatten
from broker.store.redis.keys import Place, entry_id, place
from dataplane.errors import StoreFault

log = logging.getLogger(__name__)

BLOCK_S = 2.0
BATCH_ENTRIES = 256
BATCH_BYTES = 4 * 1024 * 1024
FIRST_ENTRIES = 16  # before anything is known about how large events are


class Entry(NamedTuple):
    """One entry as read. record: None when it is no event. ordinal: how many entries came before it and it, ever."""

    place: Place
    id: bytes
    record: Record | None
    ordinal: int
    origin: str = ""  # of a redriven letter: where it stood on the log


def origin(fields: Sequence[bytes]) -> str:
    """Where a redriven letter stood on the log; "" for everything else."""
    return fields[fields.index(b"l_pos") + 1].decode() if b"l_pos" in fields else ""


class Pace:
    """How many entries one read may ask for, so that it fetches about BATCH_BYTES."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries = FIRST_ENTRIES

    def saw(self, entries: int, size_bytes: int) -> None:
        if entries:
            fit = BATCH_BYTES * entries // max(size_bytes, 1)
            self.entries = max(1, min(BATCH_ENTRIES, fit, self.entries * 2))


def entries_of(reply: Reply, ordinal: int) -> tuple[list[Entry], int]:
    """What XRANGE and XREAD say of one stream, and its size in bytes. Entries that were deleted come without fields."""
    out: list[Entry] = []
    size = 0
    for id_, fields in reply:
        ordinal += 1
        record: Record | None = None
        if isinstance(fields, list):
            size += sum(map(len, fields))
            try:
                record = unflatten(fields, id_)
            except ValueError as error:
                log.warning("redis_entry_is_no_event id=%s error=%s", id_.decode(), error)
        out.append(Entry(place(id_), id_, record, ordinal, origin(fields or ())))
    return out, size


class Tail:
    """Of one shard. seen: the last entry read; count: how many entries were ever added up to it."""

    def __init__(self, *, url: str, stream: str, stalled_s: float, took: Callable[[list[Entry]], None]) -> None:
        self._url = url
        self._stream = stream
        self._stalled_s = stalled_s
        self._took = took
        self._pace = Pace()
        self._followed = asyncio.Event()
        self.followers = 0
        self._connection: Connection | None = None
        self.seen: Place = 0
        self.count = 0

    def follow(self, seen: Place, count: int) -> bool:
        """A cursor that has looked at everything up to `seen` follows from there. False: it is too far behind."""
        if not self.followers:
            self.seen, self.count = seen, count
        elif seen < self.seen:
            return False
        self.followers += 1
        self._followed.set()
        return True

    def leave(self) -> None:
        self.followers -= 1
        assert self.followers >= 0
        if not self.followers:
            self._followed.clear()

    async def cut(self) -> None:
        """The stream is not the one that is being waited for any more: connect and begin again."""
        if self._connection is not None:
            await self._connection.close()

    async def run(self) -> None:
        while True:
            await self._followed.wait()
            try:
                connection = self._connection = await connect(self._url)
            except StoreFault:
                await asyncio.sleep(0.5)  # link.py says why, and that it is away
                continue
            try:
                while True:
                    await self._followed.wait()
                    await self._read(connection)
            except (StoreFault, TimeoutError) as error:
                log.info("redis_tail_lost stream=%s error=%s", self._stream, error)
            finally:
                self._connection = None
                await connection.close()
            await asyncio.sleep(0.1)

    async def _read(self, connection: Connection) -> None:
        asked, block_ms = self.seen, int(BLOCK_S * 1000)
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + BLOCK_S + self._stalled_s):
            count = self._pace.entries
            await connection.send(
                (pack("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", self._stream, entry_id(asked)),)
            )
            reply = await connection.reply()
        if isinstance(reply, RedisError):
            raise meaning(reply)[1]
        if not isinstance(reply, list) or not self.followers or self.seen != asked:
            return  # nothing came, or everybody left meanwhile, or somebody came and set another start
        entries, size = entries_of(reply[0][1], self.count)
        self._pace.saw(len(entries), size)
        self.seen = entries[-1].place
        self.count += len(entries)
        self._took(entries)
