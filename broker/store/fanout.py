"""Reads a log once for all triggers at its head; those without room fall behind and catch up on their own.

Path: a store's commit → [fanout] → Consumer.deliver; place.more → [fanout].

A record that was just made durable is matched once, through the index, and handed by reference to every trigger that
wants it and has room. A trigger without room is *behind* from that position on: it is served in turns, a slice each,
from the tail in memory or, older, from the store, until it has reached the head again. Redeliveries that are due come
before anything new. A record with a time of its own (`not_before`) is put on the trigger's schedule instead of being
handed over; an ordered consumer gets it at once with `due_at` set, because it alone knows what may not overtake what.

Bounds: one timer; one read per trigger at a time; SLICE records per trigger and turn; TURN_MAX deliveries per turn and
FEED_MAX per commit, so the loop lives; read-ahead of all triggers together BUFFER_BYTES_MAX.

Cost: one match per record; per delivery one object and one list append (loadtests/results: event_store).
Source: spec/eventing.md §29; performance.md P10; reliability.md BR-12, BR-16, BR-24.
"""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence

from broker.matching import Index
from broker.store.contract import Record
from broker.store.place import Found, Handed, Ledger, Place
from broker.store.schedule import Entry
from broker.store.tail import Tail, record_bytes
from dataplane.clock import Clock

SLICE = 64  # records looked at per trigger and turn
PLACES_PER_TURN = 16
TURN_MAX = 256  # deliveries, about, before the loop does something else: each of them is a request that begins
FEED_MAX = 1024  # deliveries of one commit; who would get more is behind, and gets them in turns
FETCH_MAX = 256
BUFFER_BYTES_MAX = 32 * 1024 * 1024
AGAIN_S = 1.0  # after a read that failed


class Fanout:
    """All triggers of one broker in this process. Lives on the loop."""

    def __init__(self, tail: Tail, ledger: Ledger, clock: Clock, lost: Callable[[Place, int], None]) -> None:
        """tail: what `feed` is told about is in it. lost: called with how many records a trigger will never get."""
        self.head = tail.next
        self.places: dict[str, Place] = {}
        self._tail = tail
        self._ledger = ledger
        self._clock = clock
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._index: Index[Place] = Index()
        self._ready: deque[Place] = deque()
        self._turning = False
        self._timers: list[tuple[float, int, Place]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._order = 0
        self._buffered = 0
        self._paused = False

    # store → us

    def feed(self, first: int, records: Sequence[Record]) -> None:
        """These records became durable at `first`, `first` + 1, …; they are in the tail as far as it reaches."""
        match = self._index.match
        touched: list[Place] = []
        left = FEED_MAX
        wall_s = 0.0
        for position, record in enumerate(records, first):
            text = ""
            for place in match(record.event):
                if place.behind:
                    continue
                if place.room < 0:
                    place.room = 0 if place.again else place.consumer.room()
                    touched.append(place)
                if record.not_before and not place.ordered:
                    wall_s = wall_s or self._clock.wall()
                    if record.not_before > wall_s:
                        place.progress.skip(position)
                        self._delay(place, position, record)
                        continue
                progress = place.progress
                if place.room <= 0 or left <= 0:
                    progress.skip(position)
                    place.next_at = record.arrived_at
                    place.behind = True
                    if place.room > 0:
                        self.enqueue(place)
                    continue
                place.room -= 1
                left -= 1
                progress.next = position + 1
                progress.open[position] = record.arrived_at
                text = text or str(position)
                place.batch.append(
                    Handed(record, text, position, 1, record.not_before if place.ordered else 0.0, False)
                )
        self.head = first + len(records)
        for place in touched:
            place.room = -1
            self._deliver(place)

    def join(self, place: Place) -> None:
        """From now on it is served. What is open in its progress and on its schedule comes first."""
        self.places[place.key] = place
        self._index.add(place.key, place.consumer, place)
        place.behind = bool(place.again or place.schedule) or place.progress.next < self.head
        if place.behind:
            self.enqueue(place)

    # place → us

    def leave(self, place: Place) -> None:
        if self.places.pop(place.key, None) is not None:
            self._index.remove(place.key)
            self.catch_up_progress(place)
            self._forget_buffer(place)
            place.behind = True

    def changed(self, place: Place) -> None:
        """Its filter is another one. What was read with the old one stays read."""
        self._index.add(place.key, place.consumer, place)

    def seek(self, place: Place, position: int) -> None:
        place.replay_until = max(place.replay_until, self.head)
        place.progress.seek(position)
        place.turn += 1  # an answer on its way is for where it was
        place.fetching = False
        place.fetched.clear()
        self._forget_buffer(place)
        place.behind = True
        self.enqueue(place)

    def enqueue(self, place: Place) -> None:
        if not place.queued:
            place.queued = True
            self._ready.append(place)
            if not self._turning and not self._paused:
                self._turning = True
                self._loop.call_soon(self._turn)

    def wait(self, place: Place, entry: Entry, longest_s: float = math.inf) -> None:
        """Hand it over at its time. longest_s: it was to wait so long when it was written down; a wall clock that was
        set back since then does not add to that."""
        delay = min(max(0.0, entry.due_at - self._clock.wall()), longest_s)
        place.schedule.put(entry, self._loop.time() + delay)
        self._arm(place)

    def catch_up_progress(self, place: Place) -> None:
        """A trigger at the head has settled everything that did not match; write that into its progress."""
        if not place.behind:
            place.progress.skip(self.head)

    def pause(self, paused: bool) -> None:
        """While paused no trigger that is behind is served: what they settle cannot be written down now."""
        if self._paused and not paused and self._ready and not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)
        self._paused = paused

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # turns

    def _turn(self) -> None:
        served = 0
        for _ in range(min(PLACES_PER_TURN, len(self._ready))):
            place = self._ready.popleft()
            place.queued = False
            if not place.closed and not place.fetching:
                served += self._serve(place)
                if served >= TURN_MAX:
                    break
        if self._ready and not self._paused:
            self._loop.call_soon(self._turn)
        else:
            self._turning = False

    def _serve(self, place: Place) -> int:
        """A slice of what this trigger may have. How many deliveries that was."""
        space = place.consumer.room()
        room = min(space, SLICE)
        if room > 0:
            room = self._serve_again(place, room)
        if room > 0 and place.behind and not place.again and not place.fetching:
            self._serve_new(place, room)
        schedule = place.schedule
        if not schedule.waiting and schedule.beyond and not place.fetching:
            self._read_on(place)
        place.starved = schedule.next_due() <= self._loop.time()
        if not place.starved:
            self._arm(place)
        served = len(place.batch)
        more = space > served and (place.behind or bool(place.again) or place.starved)
        self._deliver(place)
        if more and not place.fetching and not place.closed:
            self.enqueue(place)
        return served

    def _serve_again(self, place: Place, room: int) -> int:
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

    def _found(self, place: Place, key: int) -> Found | None:
        if key >= 0 and (held := self._tail.get(key)) is not None:
            place.fetched.pop(key, None)
            return str(key), held[0]
        found = place.fetched.get(key)
        if found is not None:
            del place.fetched[key]
        return found

    def _serve_new(self, place: Place, room: int) -> None:
        progress, buffer, tail = place.progress, place.buffer, self._tail
        matches = place.consumer.matches
        wall_s = self._clock.wall()
        for _ in range(SLICE):
            position = progress.next
            if position >= self.head:
                place.behind = False
                self._forget_buffer(place)
                break
            held = tail.get(position)
            if held is not None:
                record = held[0]
            else:
                while buffer and buffer[0][0] < position:
                    self._buffered -= record_bytes(buffer.popleft()[1])
                if not buffer:
                    self._fetch_from(place, max(16, min(2 * room, FETCH_MAX)))
                    break
                position, record = buffer.popleft()
                self._buffered -= record_bytes(record)
            place.next_at = record.arrived_at
            if not matches(record.event) or (position < place.replay_until and place.knows(position)):
                progress.skip(position + 1)
            elif record.not_before > wall_s and not place.ordered:
                progress.skip(position)
                self._delay(place, position, record)
            elif room <= 0:
                if held is None:
                    buffer.appendleft((position, record))
                    self._buffered += record_bytes(record)
                break
            elif progress.take(position, record.arrived_at):
                room -= 1
                due_at = record.not_before if place.ordered else 0.0
                place.batch.append(Handed(record, str(position), position, 1, due_at, False))
        if place.behind and self._buffered > BUFFER_BYTES_MAX:
            self._forget_buffer(place)

    def _deliver(self, place: Place) -> None:
        batch = place.batch
        if batch:
            place.batch = []
            place.consumer.deliver(batch)

    def _delay(self, place: Place, position: int, record: Record) -> None:
        place.progress.skip(position + 1)
        place.mark()
        entry = Entry(position, 1, record.not_before, record.arrived_at)
        self._ledger.wrote(place, entry)
        self.wait(place, entry)

    def _gone(self, place: Place, entry: Entry) -> None:
        """Damaged, or taken by retention."""
        if entry.written:
            self._ledger.ended(place, entry.key)
        else:
            place.progress.settle(entry.key)
            place.mark()
        self._lost(place, 1)

    # reads

    def _fetch(self, place: Place, keys: list[int]) -> None:
        place.fetching = True
        place.turn += 1
        turn = place.turn

        def done(found: dict[int, Found | None] | None) -> None:
            if place.turn != turn or place.closed:
                return
            place.fetching = False
            if found is None:
                self._loop.call_later(AGAIN_S, self.enqueue, place)
                return
            place.fetched.update(found)
            self.enqueue(place)

        self._ledger.fetch(place, keys, done)

    def _fetch_from(self, place: Place, limit: int) -> None:
        place.fetching = True
        place.turn += 1
        turn = place.turn

        def done(rows: list[tuple[int, Record]] | None, upto: int) -> None:
            if place.turn != turn or place.closed:
                return
            place.fetching = False
            if rows is None:
                self._loop.call_later(AGAIN_S, self.enqueue, place)
                return
            if rows:
                place.buffer.extend(rows)
                self._buffered += sum(record_bytes(record) for _, record in rows)
            else:  # nothing is left of what was there
                place.progress.skip(upto)
            self.enqueue(place)

        self._ledger.fetch_from(place, place.progress.next, limit, done)

    def _read_on(self, place: Place) -> None:
        place.fetching = True
        place.turn += 1
        turn = place.turn

        def done() -> None:
            if place.turn == turn:
                place.fetching = False
                self.enqueue(place)

        self._ledger.read_on(place, done)

    def _forget_buffer(self, place: Place) -> None:
        self._buffered -= sum(record_bytes(record) for _, record in place.buffer)
        place.buffer.clear()

    # time

    def _arm(self, place: Place) -> None:
        due = place.schedule.next_due()
        if due < place.armed:
            place.armed = due
            self._order += 1
            heapq.heappush(self._timers, (due, self._order, place))
            self._set_timer()

    def _set_timer(self) -> None:
        at = self._timers[0][0] if self._timers else math.inf
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._due)

    def _due(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = self._loop.time()
        while self._timers and self._timers[0][0] <= now:
            due, _, place = heapq.heappop(self._timers)
            if due == place.armed:
                place.armed = math.inf
                if not place.closed:
                    self.enqueue(place)
        self._set_timer()


def resume(place: Place, entries: Sequence[tuple[Entry, float]]) -> list[tuple[Entry, float]]:
    """Put what was open before a restart before anything new, in log order; an ordered consumer's schedule with it.

    entries: schedule rows with how long each was to wait at most. Returned are those still to be waited for.
    """
    fresh = [Entry(position, 1, 0.0, 0.0, written=False) for position in sorted(place.progress.open)]
    if not place.ordered:
        place.again.extend(fresh)
        return list(entries)
    place.again.extend(sorted([*fresh, *(entry for entry, _ in entries)], key=lambda entry: entry.key))
    return []
