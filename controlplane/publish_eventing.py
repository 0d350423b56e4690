"""The brokers' half of publishing: which Brokers and Triggers are dirty, and what they are now.

Path: store → publish.py → [publish_eventing] → compile_eventing.py.

A broker process deletes what a change of the snapshot takes away, so nothing is taken away but what is deleted: a
Trigger whose subscriber cannot be resolved any more is paused, over restarts too; a Broker whose ConfigMap or Secret is
gone stays as it was. A Broker of the same name that was made anew is first taken away and comes with a later
generation.

Source: spec/eventing.md §12.5, §12.8, §12.10.
"""

import logging
from collections import OrderedDict

from msgspec.structs import replace

from controlplane import compile_eventing as compiled
from controlplane.reconcile.destination import broker_key
from controlplane.reconcile.outcome import key_for
from controlplane.store.contract import Change, Store
from dataplane.errors import ConfigFault
from dataplane.resources import eventing
from dataplane.resources.core import Secret
from dataplane.resources.snapshot import Snapshot
from dataplane.resources.triggers import Broker, Trigger

log = logging.getLogger(__name__)


class EventingParts:
    """`next` gives one value at a time, so that the publisher can stop between two."""

    def __init__(self, store: Store, doors: compiled.Doors) -> None:
        self._store = store
        self._doors = doors
        self._dirty_brokers: OrderedDict[str, None] = OrderedDict()
        self._dirty_triggers: OrderedDict[str, None] = OrderedDict()
        self._gone: dict[str, None] = {}  # Brokers: leave when no Trigger waits
        self._anew: dict[str, None] = {}  # Brokers made anew: come back with the next generation
        self._of: dict[str, dict[str, None]] = {}  # Broker → Triggers that were compiled for it
        self._broker_of: dict[str, str] = {}

    @property
    def dirty(self) -> bool:
        return bool(self._dirty_brokers or self._dirty_triggers or self._gone or self._anew)

    def all(self) -> None:
        for one in self._store.objects(eventing.GROUP, "Broker"):
            self._dirty_brokers[f"{one.metadata.namespace}/{one.metadata.name}"] = None
        for one in self._store.objects(eventing.GROUP, "Trigger"):
            self._dirty_triggers[f"{one.metadata.namespace}/{one.metadata.name}"] = None

    def changed(self, change: Change) -> bool:
        """Whether it concerns us."""
        key = f"{change.key.namespace}/{change.key.name}"
        if isinstance(change.object, eventing.Broker):
            self._dirty_brokers[key] = None
            self._dirty_triggers.update(self._of.get(key, {}))
        elif isinstance(change.object, eventing.Trigger):
            self._dirty_triggers[key] = None
        elif isinstance(change.object, Secret):
            return self._credentials(change)
        else:
            return False
        return True

    def _credentials(self, change: Change) -> bool:
        concerned = False
        for one in self._store.objects(eventing.GROUP, "Broker"):
            if isinstance(one, eventing.Broker) and compiled.credentials(one) == change.key:
                self._dirty_brokers[f"{one.metadata.namespace}/{one.metadata.name}"] = None
                concerned = True
        return concerned

    def next(self, snapshot: Snapshot, brokers: dict[str, Broker | None], triggers: dict[str, Trigger | None]) -> bool:
        """Compile one more; what differs from `snapshot` goes into the dictionaries. False: nothing is left."""
        if self._dirty_brokers:
            self._broker(self._dirty_brokers.popitem(last=False)[0], snapshot, brokers)
        elif self._dirty_triggers:
            self._trigger(self._dirty_triggers.popitem(last=False)[0], snapshot, triggers)
        else:
            brokers.update(dict.fromkeys(self._gone))
            self._gone = {}
            return False
        return True

    def published(self) -> None:
        """What came out of `next` is in the snapshot now."""
        self._dirty_brokers.update(self._anew)
        for key in self._anew:
            self._dirty_triggers.update(self._of.get(key, {}))
        self._anew = {}

    def _broker(self, key: str, snapshot: Snapshot, out: dict[str, Broker | None]) -> None:
        before = snapshot.brokers.get(key)
        one = self._store.get(key_for(eventing.Broker, *_split(key)))
        value = compiled.broker(one, self._secret(one)) if isinstance(one, eventing.Broker) else None
        self._gone.pop(key, None)
        if before is not None and (value is None or value.uid != before.uid):
            if one is None or one.metadata.uid != before.uid:
                self._gone[key] = None
                if one is not None:
                    self._anew[key] = None
        elif value != before and not _would_wait(before, value):
            out[key] = value

    def _secret(self, one: eventing.Broker) -> Secret | None:
        key = compiled.credentials(one)
        found = self._store.get(key) if key is not None else None
        return found if isinstance(found, Secret) else None

    def _trigger(self, key: str, snapshot: Snapshot, out: dict[str, Trigger | None]) -> None:
        before = snapshot.triggers.get(key)
        one = self._store.get(key_for(eventing.Trigger, *_split(key)))
        if not isinstance(one, eventing.Trigger):
            self._belongs(key, "")
            value = None
        else:
            of = self._store.get(broker_key(one))
            self._belongs(key, f"{broker_key(one).namespace}/{broker_key(one).name}")
            try:
                value = compiled.trigger(one, of, self._doors) if isinstance(of, eventing.Broker) else None
                if value is None and isinstance(of, eventing.Broker):
                    known = before if before is not None and before.uid == one.metadata.uid else None
                    value = replace(known, paused=True) if known is not None else compiled.waiting(one, of)
            except ConfigFault as fault:  # admission refuses it; what was published stays
                log.warning("trigger_not_compiled trigger=%s reason=%s", key, fault)
                return
        if value != before:
            out[key] = value

    def _belongs(self, trigger: str, broker: str) -> None:
        before = self._broker_of.pop(trigger, "")
        if before:
            self._of[before].pop(trigger, None)
            if not self._of[before]:
                del self._of[before]
        if broker:
            self._broker_of[trigger] = broker
            self._of.setdefault(broker, {})[trigger] = None


def _split(key: str) -> tuple[str, str]:
    namespace, _, name = key.partition("/")
    return namespace, name


def _would_wait(before: Broker | None, after: Broker | None) -> bool:
    """What it had is gone; it stays as it was."""
    return before is not None and not before.waits_for and after is not None and bool(after.waits_for)
