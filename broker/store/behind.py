"""What a trigger is behind with, and handing it over: redeliveries, what it passed over, what it has not read yet.

Path: fanout.py → [behind] → tail.py, or the store's ledger → place.batch.

Records come from the tail in memory or, older, from the store, read ahead of where the trigger is. There are two
*spans* to read: the log from `progress.next` to the head, and the first of the gaps that the trigger leapt over.

Bounds: one read per trigger at a time; SLICE records per call; FETCH_MAX per read; read-ahead of all triggers of a
broker together BUFFER_BYTES_MAX.
Source: spec/eventing.md §29; reliability.md BR-12, BR-15, BR-16.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from broker.store.contract import Record
from broker.store.place import Found, Handed, Ledger, Place
from broker.store.schedule import Entry
from broker.store.tail import Tail, record_bytes
from dataplane.clock import Clock

SLICE = 64  # records looked at per trigger and turn
FETCH_MAX = 256
BUFFER_BYTES_MAX = 32 * 1024 * 1024
AGAIN_S = 1.0  # after a read that failed


class Behind:
    """For all triggers of one broker. Lives on the loop."""

    def __init__(
        self,
        tail: Tail,
        ledger: Ledger,
        clock: Clock,
        serve: Callable[[Place], None],
        delay: Callable[[Place, int, Record], None],
        lost: Callable[[Place, int], None],
    ) -> None:
        """serve: called when something was read for a trigger. delay: the record at that position has a time of its
        own. lost: how many records a trigger will never get."""
        self._tail = tail
        self._ledger = ledger
        self._clock = clock
        self._serve = serve
        self._delay = delay
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._buffered = 0

    def again(self, place: Place, room: int) -> int:
        """Redeliveries that are due, at most `room`. How much room is left."""
        again = place.again
        if len(again) < room:
            again += place.schedule.due(self._loop.time(), room - len(again))
        while again and room > 0:
            entry = again[0]
            found = self._found(place, entry.key)
            if found is None:
                if entry.key not in place.fetched:
                    self._fetch(place, [e.key for e, _ in zip(again, range(min(room, FETCH_MAX)), strict=False)])
                    break
                again.popleft()
                del place.fetched[entry.key]
                self._gone(place, entry)
                continue
            again.popleft()
            place.batch.append(place.hand(entry, found))
            room -= 1
        if not again:
            place.fetched.clear()
        return room

    def unread(self, place: Place, head: int, room: int) -> None:
        """From `progress.next` on. At `head` it is behind no longer."""
        if self._read(place, head, room, passed=False):
            place.behind = False
            self._forget(place.buffer)

    def passed(self, place: Place, room: int) -> None:
        """From the gaps, lowest first."""
        self._read(place, 0, room, passed=True)

    def read_on(self, place: Place) -> None:
        """The schedule has more than fits into memory: what is due next."""
        place.fetching = True
        place.turn += 1
        turn = place.turn

        def done() -> None:
            if place.turn == turn:
                place.fetching = False
                self._serve(place)

        self._ledger.read_on(place, done)

    def forget(self, place: Place) -> None:
        """What was read ahead, and what is on its way: it goes on somewhere else, or not at all."""
        place.turn += 1
        place.fetching = False
        place.fetched.clear()
        self._forget(place.buffer)
        self._forget(place.passed)

    # ---- spans ----

    def _read(self, place: Place, head: int, room: int, *, passed: bool) -> bool:
        """Hand over what matches. True: the end of the span."""
        progress, tail, matches = place.progress, self._tail, place.consumer.matches
        buffer = place.passed if passed else place.buffer
        skip, take = (progress.skip_gap, progress.take_gap) if passed else (progress.skip, progress.take)
        wall_s = self._clock.wall()
        ended = False
        for _ in range(SLICE):
            if passed:
                if not progress.gaps:
                    ended = True
                    break
                position, end = progress.gaps[0]
            else:
                position, end = progress.next, head
                if position >= end:
                    ended = True
                    break
            held = tail.get(position)
            if held is not None:
                record = held[0]
            else:
                while buffer and buffer[0][0] < position:
                    self._buffered -= record_bytes(buffer.popleft()[1])
                if not buffer:
                    limit = min(max(16, min(2 * room, FETCH_MAX)), end - position)
                    self._fetch_from(place, position, end, limit, buffer, skip)
                    break
                position, record = buffer.popleft()
                self._buffered -= record_bytes(record)
                if position >= end:  # nothing is left before it
                    skip(end)
                    continue
            if passed:
                place.passed_at = record.arrived_at
            else:
                place.next_at = record.arrived_at
            if not matches(record.event) or (position < place.replay_until and place.knows(position)):
                skip(position + 1)
                if passed:
                    place.mark()
            elif record.not_before > wall_s and not place.ordered:
                skip(position + 1)
                self._delay(place, position, record)
            elif room <= 0:
                if held is None:
                    buffer.appendleft((position, record))
                    self._buffered += record_bytes(record)
                break
            elif take(position, record.arrived_at):
                room -= 1
                due_at = record.not_before if place.ordered else 0.0
                place.batch.append(Handed(record, str(position), position, 1, due_at, False))
        if self._buffered > BUFFER_BYTES_MAX:
            self._forget(buffer)
        return ended

    def _forget(self, buffer: deque[tuple[int, Record]]) -> None:
        self._buffered -= sum(record_bytes(record) for _, record in buffer)
        buffer.clear()

    # ---- redeliveries ----

    def _found(self, place: Place, key: int) -> Found | None:
        if key >= 0 and (held := self._tail.get(key)) is not None:
            place.fetched.pop(key, None)
            return str(key), held[0]
        found = place.fetched.get(key)
        if found is not None:
            del place.fetched[key]
        return found

    def _gone(self, place: Place, entry: Entry) -> None:
        """Damaged, or taken by retention."""
        if entry.written:
            self._ledger.ended(place, entry.key)
        else:
            place.progress.settle(entry.key)
            place.mark()
        self._lost(place, 1)

    # ---- reads ----

    def _fetch(self, place: Place, keys: list[int]) -> None:
        place.fetching = True
        place.turn += 1
        turn = place.turn

        def done(found: dict[int, Found | None] | None) -> None:
            if place.turn != turn or place.closed:
                return
            place.fetching = False
            if found is None:
                self._loop.call_later(AGAIN_S, self._serve, place)
                return
            place.fetched.update(found)
            self._serve(place)

        self._ledger.fetch(place, keys, done)

    def _fetch_from(
        self,
        place: Place,
        position: int,
        end: int,
        limit: int,
        buffer: deque[tuple[int, Record]],
        skip: Callable[[int], None],
    ) -> None:
        place.fetching = True
        place.turn += 1
        turn = place.turn

        def done(rows: list[tuple[int, Record]] | None, upto: int) -> None:
            if place.turn != turn or place.closed:
                return
            place.fetching = False
            if rows is None:
                self._loop.call_later(AGAIN_S, self._serve, place)
                return
            if rows:
                buffer.extend(rows)
                self._buffered += sum(record_bytes(record) for _, record in rows)
            else:  # nothing is left of what was there
                skip(min(upto, end))
            self._serve(place)

        self._ledger.fetch_from(place, position, limit, done)
