"""Reads a log once for all triggers at its head; those without room fall behind and catch up on their own.

Path: a store's commit → [fanout] → Consumer.deliver; place.more → [fanout] → behind.py.

A record that was just made durable is matched once, through the index, and handed by reference to every trigger that
wants it and has room. A trigger without room is *behind* from that position on: it is served in turns, a slice each,
until it has reached the head again (behind.py). Redeliveries that are due come before anything new, until a subscriber
that was away is back: then its trigger leaps to the head (`newest_first`), and what it leapt over comes beside what is
new. A record with a time of its own (`not_before`) is put on the trigger's schedule instead of being
handed over; an ordered consumer gets it at once with `due_at` set, because it alone knows what may not overtake what.

Bounds: one timer; SLICE records per trigger and turn; TURN_MAX deliveries per turn and FEED_MAX per commit, so the loop
lives; PASSED_MAX gaps per trigger.

Cost: one match per record; per delivery one object and one list append (loadtests/results: event_store).
Source: spec/eventing.md §29; performance.md P10; reliability.md BR-12, BR-15, BR-16, BR-24.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence

from broker.matching import Index
from broker.store.alarms import Alarms
from broker.store.behind import SLICE, Behind
from broker.store.contract import OLD_EVERY, PASSED_MAX, Record
from broker.store.place import Handed, Ledger, Place
from broker.store.schedule import Entry
from broker.store.tail import Tail
from dataplane.clock import Clock

PLACES_PER_TURN = 16
TURN_MAX = 256  # deliveries, about, before the loop does something else: each of them is a request that begins
FEED_MAX = 1024  # deliveries of one commit; who would get more is behind, and gets them in turns


class Fanout:
    """All triggers of one broker in this process. Lives on the loop."""

    def __init__(self, tail: Tail, ledger: Ledger, clock: Clock, lost: Callable[[Place, int], None]) -> None:
        """tail: what `feed` is told about is in it. lost: called with how many records a trigger will never get."""
        self.head = tail.next
        self.places: dict[str, Place] = {}
        self._ledger = ledger
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._behind = Behind(tail, ledger, clock, self.enqueue, self._delay, lost)
        self._alarms = Alarms(self.enqueue)
        self._index: Index[Place] = Index()
        self._ready: deque[Place] = deque()
        self._turning = False
        self._paused = False

    # store → us

    def feed(self, first: int, records: Sequence[Record]) -> None:
        """These records became durable at `first`, `first` + 1, …; they are in the tail as far as it reaches."""
        try:
            self._feed(first, records)
        except BaseException:  # a consumer that raised must not cost anybody what came behind it
            self.head = first + len(records)
            for place in self.places.values():
                place.room, place.behind = -1, True
                self.enqueue(place)
            raise

    def _feed(self, first: int, records: Sequence[Record]) -> None:
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
                    place.room = place.consumer.fresh() if place.newest or not place.again else 0
                    touched.append(place)
                if record.not_before and not place.ordered:
                    wall_s = wall_s or self._clock.wall()
                    if record.not_before > wall_s:
                        place.progress.skip(position + 1)
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
        place.newest = bool(place.progress.gaps)
        place.behind = bool(place.again or place.schedule) or place.progress.next < self.head
        if place.behind or place.newest:
            self.enqueue(place)

    # place → us

    def leave(self, place: Place) -> None:
        if self.places.pop(place.key, None) is not None:
            self._index.remove(place.key)
            self.catch_up_progress(place)
            self._behind.forget(place)
            place.behind = True

    def changed(self, place: Place) -> None:
        """Its filter is another one. What was read with the old one stays read."""
        self._index.add(place.key, place.consumer, place)

    def seek(self, place: Place, position: int) -> None:
        place.replay_until = max(place.replay_until, self.head)
        place.progress.seek(position)
        self._behind.forget(place)
        place.behind, place.newest = True, False
        self.enqueue(place)

    def newest_first(self, place: Place) -> None:
        """Leap to the head; what waits is a gap from now on."""
        progress = place.progress
        if place.ordered or not (place.behind or place.again or progress.gaps):
            return
        if place.behind and progress.next < self.head and len(progress.gaps) < PASSED_MAX:
            self._behind.forget(place)
            if not progress.gaps:
                place.passed_at = place.next_at
            progress.leap(self.head)
            place.behind = False
            place.mark()
        place.newest = True
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
        self._alarms.arm(place)

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
        self._alarms.close()

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
        if place.newest:
            served = self._serve_both(place)
        else:
            served = self._serve_in_order(place)
        schedule = place.schedule
        if not schedule.waiting and schedule.beyond and not place.fetching:
            self._behind.read_on(place)
        place.starved = schedule.next_due() <= self._loop.time()
        if not place.starved:
            self._alarms.arm(place)
        if not place.fetching and not place.closed and self._wants_more(place):
            self.enqueue(place)
        return served

    def _serve_in_order(self, place: Place) -> int:
        room = min(place.consumer.room(), SLICE)
        if room > 0:
            room = self._behind.again(place, room)
        if room > 0 and place.behind and not place.again and not place.fetching:
            self._behind.unread(place, self.head, room)
        return self._deliver(place)

    def _serve_both(self, place: Place) -> int:
        """What is new, then what waited; now and then the other way around, so that what waited never starves."""
        place.turns += 1
        if place.turns % OLD_EVERY == 0:
            return self._serve_old(place) + self._serve_new(place)
        return self._serve_new(place) + self._serve_old(place)

    def _serve_new(self, place: Place) -> int:
        fresh = min(place.consumer.fresh(), SLICE) if place.behind and not place.fetching else 0
        if fresh > 0:
            self._behind.unread(place, self.head, fresh)
        return self._deliver(place)

    def _serve_old(self, place: Place) -> int:
        room = min(place.consumer.room(), SLICE) if not place.fetching else 0
        if room > 0:
            room = self._behind.again(place, room)
        if room > 0 and place.progress.gaps and not place.again and not place.fetching:
            self._behind.passed(place, room)
        if not place.progress.gaps and not place.again:
            place.newest = False
            if place.behind:
                self.enqueue(place)
        return self._deliver(place)

    def _wants_more(self, place: Place) -> bool:
        if place.newest:
            return (place.behind and place.consumer.fresh() > 0) or place.consumer.room() > 0
        return (place.behind or bool(place.again) or place.starved) and place.consumer.room() > 0

    def _deliver(self, place: Place) -> int:
        batch = place.batch
        if batch:
            place.batch = []
            place.consumer.deliver(batch)
        return len(batch)

    def _delay(self, place: Place, position: int, record: Record) -> None:
        """It waits for its own time, settled in the progress and written on the schedule."""
        place.mark()
        entry = Entry(position, 1, record.not_before, record.arrived_at)
        self._ledger.wrote(place, entry)
        self.wait(place, entry)


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
