"""What people ask of a broker's streams: where a start is, what stands there, where an event is.

Path: inspect.py → log.py → [look] → link.py.
"""

from collections.abc import Sequence

from broker.store.contract import Start, Stored
from broker.store.redis.connect import Reply
from broker.store.redis.flat import unflatten
from broker.store.redis.keys import Place, entry_id, parse_position, place, position
from broker.store.redis.link import Link
from dataplane.errors import BadPosition

FIND_STEP, FIND_STEPS = 500, 40


class Look:
    """streams: by shard."""

    def __init__(self, link: Link, streams: Sequence[str]) -> None:
        self._link = link
        self._streams = streams

    async def read(self, start: Start, limit: int) -> list[Stored]:
        found: list[tuple[Place, Stored]] = []
        for shard, stream in enumerate(self._streams):
            if start.at == "latest":
                reply = await self._link.call("XREVRANGE", stream, "+", "-", "COUNT", limit)
            else:
                before = await self.locate(start, shard)
                reply = await self._link.call("XRANGE", stream, f"({before}", "+", "COUNT", limit)
            found += _stored(shard, reply)
        found.sort(key=lambda pair: pair[0])
        stored = [one for _, one in found]
        return stored[-limit:] if start.at == "latest" else stored[:limit]

    async def find(self, id: str, source: str, limit: int) -> list[Stored]:
        """Among the newest FIND_STEPS × FIND_STEP entries of each shard."""
        found: list[tuple[Place, Stored]] = []
        wanted = id.encode()
        for shard, stream in enumerate(self._streams):
            upto, here = "+", 0
            for _ in range(FIND_STEPS):
                reply = await self._link.call("XREVRANGE", stream, upto, "-", "COUNT", FIND_STEP)
                for at, one in _stored(shard, [entry for entry in reply if wanted in entry[1]]):
                    event = one.record.event
                    if event.id == id and (not source or event.source == source):
                        found.append((at, one))
                        here += 1
                if len(reply) < FIND_STEP or here >= limit:
                    break
                upto = f"({reply[-1][0].decode()}"
        found.sort(key=lambda pair: pair[0], reverse=True)
        return [one for _, one in found[:limit]]

    async def locate(self, start: Start, shard: int) -> str:
        """The id before the first entry that is wanted. A time is the server's. Raises BadPosition for no position."""
        if start.at == "earliest":
            return "0-0"
        if start.at == "latest":
            reply = await self._link.call("XREVRANGE", self._streams[shard], "+", "-", "COUNT", 1)
            return reply[0][0].decode() if reply else "0-0"
        if start.at == "time":
            at = max(0, int(start.time_s * 1000)) << 64
        else:
            try:
                where, at = parse_position(start.position)
            except ValueError as error:
                raise BadPosition(str(error)) from None
            if where != shard:
                at = at >> 64 << 64
        return entry_id(max(0, at - 1))


def _stored(shard: int, reply: Reply) -> list[tuple[Place, Stored]]:
    out = []
    for id_, fields in reply:
        try:
            record = unflatten(fields, id_)
        except ValueError:
            continue
        out.append((place(id_), Stored(position(shard, id_), record)))
    return out
