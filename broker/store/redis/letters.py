"""Deliveries of one trigger that were given up: two streams, one of parked and one of dead-lettered events.

Path: subscription.py → [letters] → link.py.

A letter is the record's own fields, so it outlives the log's retention, and three more: `l_pos` where it stood,
`l_fail` why (JSON), `l_at` when. Its id is a number that counts up over both streams. Redrive moves letters to a stream
that this trigger alone reads (`again`).

Source: spec/eventing.md §9.8, §27.6.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from broker.store.contract import Failure, Kept, Letter
from broker.store.redis.connect import Reply
from broker.store.redis.flat import Field, flatten, unflatten
from broker.store.redis.keys import AGAIN
from broker.store.redis.scripts import REDRIVE
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.handed import Handed
    from broker.store.redis.log import RedisLog
    from broker.store.redis.subscription import RedisSubscription

log = logging.getLogger(__name__)

STEP = 100  # letters per script
KINDS: tuple[Kept, ...] = ("parked", "dead-lettered")

_failure = msgspec.json.Decoder(Failure)


class Letters:
    """parked, dead_lettered: how many there are, as far as this process knows."""

    def __init__(self, owner: RedisLog, subscription: RedisSubscription) -> None:
        self._log = owner
        self._link = owner.link
        self._subscription = subscription
        self._streams = {kind: owner.keys.letters(subscription.key, kind) for kind in KINDS}
        self.parked = self.dead_lettered = 0

    def fields(self, handed: Handed, failure: Failure) -> list[Field]:
        return [
            *flatten(handed.record),
            b"l_pos",
            handed.position,
            b"l_fail",
            msgspec.json.encode(failure),
            b"l_at",
            repr(failure.at),
        ]

    def kept(self, kept: Kept, reply: Reply, fault: StoreFault | None) -> None:
        """What PARK answered."""
        if fault is not None:
            # Still pending: nobody touches it any more, so it is delivered again.
            log.error("redis_letter_refused trigger=%s error=%s", self._subscription.name, fault)
            return
        written, dropped = int(reply[0]), int(reply[1])
        self._count(kept, written - (dropped if written else 0))
        if dropped:
            self._log.meters.letters_dropped(self._log.broker, self._subscription.name, dropped)

    async def count(self) -> None:
        """Ask Redis."""
        self.parked, self.dead_lettered = [int(await self._link.call("XLEN", self._streams[kind])) for kind in KINDS]

    async def read(self, kept: Kept | None, after: str, limit: int) -> list[Letter]:
        found: list[Letter] = []
        for kind in KINDS if kept is None else (kept,):
            start = f"({after}-0" if after.isdecimal() else "-"
            reply = await self._link.call("XRANGE", self._streams[kind], start, "+", "COUNT", limit)
            found += [_letter(kind, id_, fields) for id_, fields in reply]
        found.sort(key=lambda letter: int(letter.id))
        return found[:limit]

    async def redrive(self, ids: Sequence[str] | None, kept: Kept) -> int:
        subscription = self._subscription
        keys = self._log.keys
        touched = (self._streams[kept], keys.stream(AGAIN, subscription.key), keys.heads, keys.bell)
        cursor = subscription.cursors[AGAIN]
        number = 0
        for step in await self._steps(ids, kept):
            reply = await self._link.call_script(REDRIVE, touched, cursor.group, cursor.field, *step)
            number += int(reply)
        self._count(kept, -number)
        return number

    async def discard(self, ids: Sequence[str] | None, kept: Kept) -> int:
        stream = self._streams[kept]
        number = 0
        if ids is None:
            last = await self._last(kept)
            if last:
                low = last.partition("-")[0]
                number = int(await self._link.call("XTRIM", stream, "MINID", f"{low}-1"))
        else:
            wanted = [f"{id_}-0" for id_ in ids if id_.isdecimal()]
            for i in range(0, len(wanted), STEP):
                number += int(await self._link.call("XDEL", stream, *wanted[i : i + STEP]))
        self._count(kept, -number)
        return number

    async def _steps(self, ids: Sequence[str] | None, kept: Kept) -> list[list[str | int]]:
        """Arguments of REDRIVE. None: up to the last there is now, so that what fails again is not taken twice."""
        if ids is not None:
            wanted = [f"{id_}-0" for id_ in ids if id_.isdecimal()]
            return [["", 0, *wanted[i : i + STEP]] for i in range(0, len(wanted), STEP)]
        last = await self._last(kept)
        if not last:
            return []
        length = int(await self._link.call("XLEN", self._streams[kept]))
        return [[last, STEP] for _ in range(0, length, STEP)]

    async def _last(self, kept: Kept) -> str:
        reply = await self._link.call("XREVRANGE", self._streams[kept], "+", "-", "COUNT", 1)
        return reply[0][0].decode() if isinstance(reply, list) and reply else ""

    def _count(self, kept: Kept, change: int) -> None:
        if kept == "parked":
            self.parked += change
        else:
            self.dead_lettered += change


def _letter(kept: Kept, id_: bytes, fields: list[bytes]) -> Letter:
    own = dict(zip(fields[::2], fields[1::2], strict=True))
    return Letter(
        id=id_.partition(b"-")[0].decode(),
        kept=kept,
        record=unflatten(fields),
        position=own[b"l_pos"].decode(),
        failure=_failure.decode(own[b"l_fail"]),
    )
