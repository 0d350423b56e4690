"""Settled records that are old or too many go, a slice at a time, between the groups.

Path: groups.py (something was appended, the quota refused) → [retention] → files.py.

Source: spec/eventing.md §29.3; reliability.md BR-07, BR-23.
"""

import asyncio
import logging
import math
import sqlite3

from broker.store.fanout import Fanout
from broker.store.sqlite import faults
from broker.store.sqlite.files import BrokerFile, Held
from broker.store.sqlite.groups import Groups
from broker.store.tail import Tail
from dataplane.clock import Clock

log = logging.getLogger(__name__)

KEEP_S = 1.0  # between looks while something is appended or goes; then twice as long each time, up to
KEEP_MAX_S = 60.0
SWEEP_S = 5.0  # between writing down how far triggers are that match nothing
BUSY_S = 0.02  # a group runs: look again
QUOTA_EARLY = 0.9  # of the quota: settled records go, however young


class Retention:
    """Of one broker. At most one timer; none while nothing is held."""

    def __init__(self, broker: str, file: BrokerFile, groups: Groups, fanout: Fanout, tail: Tail, clock: Clock) -> None:
        self._broker = broker
        self._file = file
        self._groups = groups
        self._fanout = fanout
        self._tail = tail
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._wait_s = KEEP_S
        self._swept_at = self._loop.time()
        groups.grew = self.soon
        groups.more_room = self.now

    def soon(self) -> None:
        """Something was appended, or the settings are others."""
        self._wait_s = KEEP_S
        self._look(KEEP_S)

    def now(self) -> None:
        self._look(0.0)

    def _look(self, in_s: float) -> None:
        """In so many seconds at the latest."""
        at = self._loop.time() + in_s
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        if not self._groups.health.closed:
            self._timer = self._loop.call_at(at, self._retain)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _retain(self) -> None:
        self._timer = None
        groups, settings = self._groups, self._groups.settings
        if groups.health.closed or groups.health.broken:
            return
        self._sweep()
        old = self._clock.wall() - settings.retention_s if settings.retention_s else -math.inf
        bytes_max = settings.retention_bytes
        early = int(settings.quota_bytes * QUOTA_EARLY)
        if early and groups.held.held_bytes > early:
            bytes_max = min(bytes_max or early, early // 2)
        if not groups.alone(lambda: self._trim(old, bytes_max), self._trimmed):
            self._look(BUSY_S)

    def _trim(self, old: float, bytes_max: int) -> tuple[Held, bool]:
        """On the writer thread."""
        file = self._file
        try:
            held, more = file.trim(old=old, bytes_max=bytes_max)
        except sqlite3.Error as error:
            if not faults.full(error):
                raise
            file.spend_reserve()  # what it is for: what goes now makes more room than it took
            held, more = file.trim(old=old, bytes_max=bytes_max)
        if not more:
            file.vacuum()
        file.checkpoint()
        return held, more

    def _trimmed(self, outcome: tuple[Held, bool] | Exception) -> None:
        if isinstance(outcome, Exception):
            log.warning("store_trim_failed broker=%s error=%s", self._broker, outcome)
            self._look(SWEEP_S)
            return
        held, more = outcome
        went = held.first > self._groups.held.first
        self._groups.held = held
        tail = self._tail
        while tail.first < min(held.first, tail.next):
            tail.drop_first()
        self._wait_s = KEEP_S if went else min(2 * self._wait_s, KEEP_MAX_S)
        if more:
            self.now()
        elif held.next - held.first > 1:
            self._look(self._wait_s)

    def _sweep(self) -> None:
        """Triggers that matched nothing for a while: retention and the next start must know how far they are."""
        now = self._loop.time()
        if now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        for place in self._fanout.places.values():
            if not place.behind and place.progress.next < self._fanout.head:
                place.mark()
