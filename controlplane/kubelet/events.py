"""Events about pods: counted when they repeat, written together, soon but never in the way of a start.

Path: pod.py → [events] → store → `kubectl describe`, `get events`.

Source: Kubernetes core/v1 Event; pkg/kubelet/events.
"""

import asyncio
import hashlib
import logging
from collections import deque
from typing import Literal

from msgspec.structs import replace

from controlplane.store.contract import Conflict, Delete, Key, Put, Store, StoreFailed, Write
from dataplane.clock import Clock, rfc3339
from dataplane.net.tasks import Tasks
from dataplane.resources.core import Event, EventSource, ObjectReference, Pod
from dataplane.resources.meta import ObjectMeta

log = logging.getLogger(__name__)

EVENTS_MAX = 1_000  # of ours, in the store; the oldest goes first
PENDING_MAX = 1_000
PAUSE_S = 0.1
COMPONENT = "kubelet"


class Events:
    """`note` returns at once."""

    def __init__(self, *, store: Store, clock: Clock, tasks: Tasks) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._pending: dict[Key, Event] = {}
        self._kept: deque[Key] = deque()
        self._writing = False

    def note(
        self, pod: Pod, type_: Literal["Normal", "Warning"], reason: str, message: str, container: str = ""
    ) -> None:
        meta = pod.metadata
        word = f"{meta.uid}/{type_}/{reason}/{message}/{container}"
        name = f"{meta.name}.{hashlib.sha256(word.encode()).hexdigest()[:16]}"
        key = Key("", "Event", meta.namespace, name)
        at = rfc3339(self._clock.wall())
        waiting = self._pending.get(key)
        if waiting is not None:
            self._pending[key] = replace(waiting, count=waiting.count + 1, last_timestamp=at)
        elif len(self._pending) < PENDING_MAX:
            self._pending[key] = Event(
                metadata=ObjectMeta(name=name, namespace=meta.namespace, creation_timestamp=at),
                involved_object=ObjectReference(
                    api_version="v1",
                    kind="Pod",
                    name=meta.name,
                    namespace=meta.namespace,
                    uid=meta.uid,
                    field_path=f"spec.containers{{{container}}}" if container else "",
                ),
                reason=reason,
                message=message,
                source=EventSource(component=COMPONENT, host="localhost"),
                first_timestamp=at,
                last_timestamp=at,
                type=type_,
                reporting_component=COMPONENT,
            )
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write(), "events")

    async def _write(self) -> None:
        try:
            while self._pending:
                await asyncio.sleep(PAUSE_S)
                pending, self._pending = self._pending, {}
                writes: list[Write] = [Put(key, self._counted(key, event), None) for key, event in pending.items()]
                while len(self._kept) > EVENTS_MAX:
                    writes.append(Delete(self._kept.popleft()))
                try:
                    await self._store.commit(writes)
                except (Conflict, StoreFailed) as error:
                    log.warning("events_lost count=%s error=%s", len(writes), error)
        finally:
            self._writing = False

    def _counted(self, key: Key, event: Event) -> Event:
        before = self._store.get(key)
        if not isinstance(before, Event):
            self._kept.append(key)
            return event
        return replace(before, count=before.count + event.count, last_timestamp=event.last_timestamp)
