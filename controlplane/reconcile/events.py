"""Events: what happened to an object, said once and counted. Pure.

Path: Outcome.events → [events] → core/v1 Event objects → `kubectl describe`, `get events`.

Source: Kubernetes core/v1 Event; spec/serving.md §2.2.
"""

import hashlib
from itertools import islice

from msgspec.structs import replace

from controlplane.reconcile.outcome import Note, key_for
from controlplane.reconcile.view import View
from controlplane.store.contract import Delete, Put, Write
from dataplane.clock import rfc3339
from dataplane.resources.core import Event, EventSource, ObjectReference
from dataplane.resources.kinds import BY_STRUCT
from dataplane.resources.meta import ObjectMeta

EVENTS_MAX = 2_000  # in the store, of all objects; the oldest goes first


def recorded(note: Note, view: View, now: float, component: str) -> tuple[Write, ...]:
    """Writes that make this Event, or count it once more."""
    meta = note.about.metadata
    kind = BY_STRUCT[type(note.about)]
    word = f"{meta.uid}/{note.type}/{note.reason}/{note.message}"
    name = f"{meta.name}.{hashlib.sha256(word.encode()).hexdigest()[:16]}"
    namespace = meta.namespace or "default"
    key = key_for(Event, namespace, name)
    before = view.find(Event, namespace, name)
    at = rfc3339(now)
    if before is not None:
        return (Put(key, replace(before, count=before.count + 1, last_timestamp=at), None),)
    event = Event(
        metadata=ObjectMeta(name=name, namespace=namespace),
        involved_object=ObjectReference(
            api_version=kind.api_version, kind=kind.kind, name=meta.name, namespace=meta.namespace, uid=meta.uid
        ),
        reason=note.reason,
        message=note.message,
        source=EventSource(component=component),
        first_timestamp=at,
        last_timestamp=at,
        type=note.type,
        reporting_component=component,
    )
    surplus = max(0, len(view.events) - EVENTS_MAX + 1)
    return (*(Delete(oldest) for oldest in islice(view.events, surplus)), Put(key, event, None))
