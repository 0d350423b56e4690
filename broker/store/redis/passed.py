"""What a trigger passed over on one stream when its subscriber was back, and how it comes back to it.

Path: subscription.newest_first → [passed] → reader.py → [passed] → pending.py.

Passing over is one script (PASS): the group's head goes to the end of the stream, and the stretch between is noted in
the hash `passed`, for every process of the trigger. The stretches are read lowest first, as the trigger has room. To
hand over entries their stretch is made to begin behind them, and they become pending for this worker, in one script
that fails when another process was faster (COME_BACK): so processes share this work as they share that at the head.

As text a stretch is `FIRST LAST BEFORE UPTO`: from where to where, both included, and how many entries were ever added
before the first and up to the last, -1 where nobody knows; commas between them.

Bounds: PASSED_MAX stretches; what one read brings (reader.py).

Source: reliability.md BR-15; decision 0006.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from broker.store.redis.connect import Reply
from broker.store.redis.faults import GroupLost
from broker.store.redis.keys import Place, entry_id, place
from broker.store.redis.matched import Matched
from broker.store.redis.reader import AGAIN_S, Read, Reader
from broker.store.redis.scripts import COME_BACK
from dataplane.errors import StoreFault

if TYPE_CHECKING:
    from broker.store.redis.cursor import Cursor

log = logging.getLogger(__name__)


class Stretch(NamedTuple):
    first: Place
    last: Place
    before: int
    upto: int


def parse(text: str) -> list[Stretch]:
    return [
        Stretch(place(first.encode()), place(last.encode()), int(before), int(upto))
        for first, last, before, upto in (part.split(" ") for part in text.split(",") if part)
    ]


def render(stretches: Sequence[Stretch]) -> str:
    return ",".join(f"{entry_id(one.first)} {entry_id(one.last)} {one.before} {one.upto}" for one in stretches)


def behind(stretches: Sequence[Stretch], at: Place, before: int) -> list[Stretch]:
    """What is left when the lowest begins at `at`, before which there were so many entries."""
    lowest, *rest = stretches
    return rest if at > lowest.last else [lowest._replace(first=at, before=before), *rest]


class Passed:
    """Of one cursor. stretches: as far as this process knows, the lowest first."""

    def __init__(self, cursor: Cursor) -> None:
        subscription = cursor.subscription
        self.stretches: list[Stretch] = []
        self._text = ""
        self._cursor = cursor
        self._waiting = Matched(subscription.log)
        self._reader = Reader(subscription, cursor.stream, cursor.shard)
        self._next: Place = 0  # where to read on, in the lowest stretch or right behind it
        self._before = -1  # entries before that, ever
        self._claiming = False

    def found(self, text: str) -> None:
        """The server says so."""
        if text == self._text:
            return
        self._text, self.stretches = text, parse(text)
        if self.stretches:
            lowest = self.stretches[0]
            self._waiting.drop_below(lowest.first)
            if not lowest.first <= self._next <= lowest.last + 1:
                self.reread()
            self._cursor.subscription.newest = True
            self._cursor.subscription.more()
        else:
            self.reread()

    def reread(self) -> None:
        """Forget what was read: there is no room for it, or it is not there any more."""
        self._reader.forget()
        self._waiting.clear()
        if self.stretches:
            self._next, self._before = self.stretches[0].first, self.stretches[0].before

    def left(self, entries_of_all: int) -> int:
        """How many entries were not handed over yet, matching or not; that many at most where nobody counted."""
        return sum(
            one.upto - one.before if one.before >= 0 and one.upto >= 0 else entries_of_all for one in self.stretches
        )

    def oldest(self, otherwise: float) -> float:
        """When the first of them arrived, about; wall seconds."""
        if self.stretches and not self._waiting:
            return min(otherwise, (self.stretches[0].first >> 64) / 1000)
        return self._waiting.oldest(otherwise)

    # ---- handing over ----

    def pull(self) -> bool:
        """Hand over what there is room for, and see to it that there is more. Whether something will be."""
        if not self.stretches or self._claiming:
            return False
        subscription = self._cursor.subscription
        room = subscription.room()
        if self._waiting:
            if room > 0:
                self._claim(min(room, len(self._waiting)))
                return True
            if subscription.log.is_full:
                self.reread()
        elif self._next > self.stretches[0].last:
            self._claim(0)
        elif room > 0 and not self._reader.busy:
            self._read()
        return False

    def _read(self) -> None:
        last = self.stretches[0].last

        def took(read: Read) -> None:
            for entry in read.matched:
                self._waiting.keep(entry)
            self._next, self._before = (last if read.ended else read.last) + 1, read.ordinal
            if not read.matched and not self._claiming:
                self._claim(0)

        self._reader.read(entry_id(self._next), entry_id(last), self._before, took)

    def _claim(self, number: int) -> None:
        cursor = self._cursor
        subscription = cursor.subscription
        entries = self._waiting.take(number)
        at, before = self._next, self._before
        if self._waiting:
            at, before = entries[-1].place + 1, entries[-1].ordinal
        lowest, text = self.stretches[0], render(behind(self.stretches, at, before))
        self._claiming = True
        subscription.reserved += number
        epoch = cursor.epoch

        def then(reply: Reply, fault: StoreFault | None) -> None:
            self._claiming = False
            subscription.reserved -= number
            if subscription.closed:
                return
            if epoch != cursor.epoch:
                self.reread()  # the group is another one
            elif fault is not None:
                self._waiting.put_back(entries)
                self._failed(fault)
                return
            elif reply[0] == 1:
                self.found(text)
                if at > lowest.last and 0 <= before < lowest.upto:
                    subscription.lost(lowest.upto - before)
                if entries:
                    cursor.give(entries, reply[1], subscription.room())
            elif reply[0] == 0:
                self._waiting.put_back(entries)
                self.found(reply[1].decode())
            else:
                subscription.takeover.lost(cursor)
                return
            subscription.more()

        cursor.link.run(
            COME_BACK,
            (cursor.stream, subscription.keys.passed, cursor.lease),
            cursor.group,
            cursor.field,
            subscription.worker,
            self._text,
            text,
            cursor.fence,
            *[entry.id for entry in entries],
            then=then,
        )

    def _failed(self, fault: StoreFault) -> None:
        subscription = self._cursor.subscription
        if isinstance(fault, GroupLost):
            subscription.log.look_again(subscription)
        elif subscription.link.up:  # otherwise on_up looks what is left
            log.warning("redis_come_back_refused trigger=%s error=%s", subscription.name, fault)
            subscription.pull_after(AGAIN_S)
