"""What keys, groups and positions are called. Pure.

One hash tag per broker, so that all keys of a broker live in one slot and one script may touch them together.

    fe:{NS/BROKER}:s:0        stream of shard 0: the log          group t:UID   one trigger on it
    fe:{NS/BROKER}:again:UID  stream: redriven letters, for this trigger alone
    fe:{NS/BROKER}:heads      hash: how far each group has looked (cursor.py)
    fe:{NS/BROKER}:passed     hash: what each group passed over and comes back to (passed.py)
    fe:{NS/BROKER}:retry:UID  sorted set: scheduled redeliveries by due time, ms
    fe:{NS/BROKER}:noted:UID  sorted set: what an ordered trigger tries again itself, by due time, ms
    fe:{NS/BROKER}:due        sorted set: triggers by their earliest redelivery
    fe:{NS/BROKER}:kept       sorted set: entries that scheduled redeliveries still need, by age
    fe:{NS/BROKER}:parked:UID, dead:UID   streams of letters
    fe:{NS/BROKER}:lease:UID:SHARD        who delivers an ordered trigger, with its fencing token
    fe:{NS/BROKER}:crashes:UID  hash: entries that were being delivered when a worker died, and how often
    fe:{NS/BROKER}:meta, workers, bell, d:…   numbers, processes, "look again", ids seen lately

Source: spec/eventing.md §27.1, §27.8, §27.9.
"""

from binascii import crc_hqx
from hashlib import blake2b

AGAIN = -1  # the shard number of the stream of redriven letters
_SEQ_MAX = (1 << 64) - 1

Place = int  # an entry's id as one number: ms << 64 | seq


class Keys:
    """The names of one broker's keys."""

    def __init__(self, broker: str) -> None:
        self.prefix = f"fe:{{{broker}}}:"
        self.heads = self.prefix + "heads"
        self.passed = self.prefix + "passed"
        self.meta = self.prefix + "meta"
        self.due = self.prefix + "due"
        self.kept = self.prefix + "kept"
        self.workers = self.prefix + "workers"
        self.bell = self.prefix + "bell"

    def stream(self, shard: int, uid: str = "") -> str:
        return f"{self.prefix}again:{uid}" if shard == AGAIN else f"{self.prefix}s:{shard}"

    def retry(self, uid: str) -> str:
        return f"{self.prefix}retry:{uid}"

    def noted(self, uid: str) -> str:
        return f"{self.prefix}noted:{uid}"

    def letters(self, uid: str, kept: str) -> str:
        return f"{self.prefix}{'parked' if kept == 'parked' else 'dead'}:{uid}"

    def lease(self, uid: str, shard: int) -> str:
        return f"{self.prefix}lease:{uid}:{shard}"

    def crashes(self, uid: str) -> str:
        return f"{self.prefix}crashes:{uid}"

    def seen(self, source: str, id: str) -> str:
        """Of the dedup window. A digest: ids may be long, and both parts may hold any character."""
        name = blake2b(f"{len(source)} {source}{id}".encode(), digest_size=16).hexdigest()
        return f"{self.prefix}d:{name}"

    @property
    def everything(self) -> str:
        """As a pattern of SCAN."""
        return "".join("\\" + c if c in "*?[]\\" else c for c in self.prefix) + "*"


def group(uid: str) -> str:
    return f"t:{uid}"


def shard_of(key: str, shards: int) -> int:
    """The CRC16 of Redis Cluster, so that others can compute it."""
    return crc_hqx(key.encode(), 0) % shards


def place(entry_id: bytes) -> Place:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms) << 64 | int(seq)


def entry_id(at: Place) -> str:
    return f"{at >> 64}-{at & _SEQ_MAX}"


def position(shard: int, entry: bytes) -> str:
    """As people write it: `1764225224123-0`, with `@SHARD` when it is not on shard 0."""
    return f"{entry.decode()}@{shard}" if shard else entry.decode()


def parse_position(text: str) -> tuple[int, Place]:
    """(shard, place). Raises ValueError."""
    entry, _, shard = text.partition("@")
    ms, dash, seq = entry.partition("-")
    if not (ms.isdecimal() and (seq.isdecimal() if dash else True) and (not shard or shard.isdecimal())):
        raise ValueError(f"{text!r} is no position of a Redis stream: MILLISECONDS-NUMBER or MILLISECONDS-NUMBER@SHARD")
    return int(shard or 0), int(ms) << 64 | int(seq or 0)
