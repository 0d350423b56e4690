"""Where broker processes say what stands: which brokers accept events, which triggers get them. In memory.

Path: broker/service.py (in-process or hops.py) → [brokerdesk] → reconcile/broker.py, reconcile/trigger.py.

A report counts for the object whose uid it names. Of several processes one that is ready is enough: on Redis and Kafka
each has some triggers. What a process said goes with it (`forget`).

Bound: one report per broker and trigger that exists, and process.

Source: spec/eventing.md §12.8, §28.6.
"""

from collections.abc import Callable

from controlplane.reconcile.destination import broker_key
from controlplane.reconcile.outcome import key_for
from controlplane.store.contract import Change, Key, Store
from dataplane.resources.eventing import Broker, Trigger
from dataplane.resources.meta import Resource
from dataplane.resources.triggers import Reported

_KINDS: dict[str, type[Resource]] = {"broker": Broker, "trigger": Trigger}
_Place = tuple[str, str]  # kind, namespace/name


class BrokerDesk:
    __slots__ = ("_changed", "_said", "_store", "_unwatch")

    def __init__(self, *, store: Store, changed: Callable[[str, str], None]) -> None:
        """`changed(kind, namespace/name)` is called when there is something new to look at."""
        self._store = store
        self._changed = changed
        self._said: dict[_Place, dict[str, Reported]] = {}  # by process
        self._unwatch = store.watch(self._gone)

    def close(self) -> None:
        self._unwatch()

    def report(self, said: Reported, process: str = "") -> None:
        """`process`: who says it, when there are several; what it said before about this object is replaced."""
        place = (said.kind, said.key)
        namespace, _, name = said.key.partition("/")
        found = self._store.get(key_for(_KINDS[said.kind], namespace, name))
        if found is None or (said.uid and said.uid != found.metadata.uid):
            return
        by_process = self._said.setdefault(place, {})
        if by_process.get(process) != said:
            by_process[process] = said
            self._changed(*place)

    def forget(self, process: str) -> None:
        """The process is gone: nothing of what it said holds."""
        for place, by_process in list(self._said.items()):
            if by_process.pop(process, None) is not None:
                self._changed(*place)

    def reported(self, kind: str, key: str) -> Reported | None:
        by_process = self._said.get((kind, key))
        if not by_process:
            return None
        return next((one for one in by_process.values() if one.ready), next(iter(by_process.values())))

    def _gone(self, change: Change) -> None:
        if change.type != "DELETED":
            return
        key = f"{change.key.namespace}/{change.key.name}"
        if isinstance(change.object, Trigger):
            self._said.pop(("trigger", key), None)
        elif isinstance(change.object, Broker):
            self._said.pop(("broker", key), None)
            for place in [place for place in self._said if self._subscribes(place, change.key)]:
                del self._said[
                    place
                ]  # its subscription went with the Broker; another one of the name is another Broker
                self._changed(*place)

    def _subscribes(self, place: _Place, broker: Key) -> bool:
        kind, (namespace, _, name) = place[0], place[1].partition("/")
        if kind != "trigger" or namespace != broker.namespace:
            return False
        found = self._store.get(key_for(Trigger, namespace, name))
        return isinstance(found, Trigger) and broker_key(found) == broker
