"""Configuration → one Revision per generation; which one is the latest, and the latest that is ready.

Path: service.py → [configuration] → revision.py.

Source: spec/serving.md §2.2, §2.3 (labels and annotations of a new Revision), §16.1 step 3.
"""

from typing import NamedTuple

from msgspec.structs import replace

from controlplane.reconcile.conditions import READY, Conditions, is_false, is_true
from controlplane.reconcile.naming import (
    CONFIGURATION,
    CONFIGURATION_GENERATION,
    CONFIGURATION_UID,
    CREATOR,
    LAST_MODIFIER,
    ROUTES,
    ROUTING_STATE,
    ROUTING_STATE_MODIFIED,
    SERVICE,
    SERVICE_UID,
    revision_name,
)
from controlplane.reconcile.outcome import Note, Outcome, create, owner, update
from controlplane.reconcile.service import described_by
from controlplane.reconcile.view import View
from controlplane.store.contract import Write
from dataplane.clock import rfc3339
from dataplane.resources.meta import ObjectMeta, condition
from dataplane.resources.serving import Configuration, ConfigurationStatus, Revision


def reconcile(configuration: Configuration, view: View, now: float) -> Outcome:
    meta, status = configuration.metadata, configuration.status
    marks = Conditions(status.conditions, (), now, new_generation=status.observed_generation != meta.generation)
    writes: list[Write] = []
    events: list[Note] = []

    latest = _latest(configuration, view)
    if latest.taken:
        taken = f'revisions.serving.knative.dev "{latest.name}" already exists'
        marks.false(READY, "RevisionFailed", f"Revision creation failed with message: {taken}.")
        if not is_false(condition(status.conditions, READY)):
            events.append(Note(configuration, "Warning", "CreationFailed", f"Failed to create Revision: {taken}"))
    else:
        if latest.revision is None:
            writes.append(create(_revision(configuration, latest.name, now)))
            events.append(Note(configuration, "Normal", "Created", f'Created Revision "{latest.name}"'))
        status = replace(status, latest_created_revision_name=latest.name)
        if status.latest_ready_revision_name != latest.name:
            marks.unknown(READY)
        if latest.revision is not None:
            _judge(configuration, latest.revision, marks, events)
        status = _latest_ready(configuration, status, view, marks, events)

    status = replace(status, conditions=marks.close(), observed_generation=meta.generation)
    writes += update(configuration, replace(configuration, status=status))
    return Outcome(tuple(writes), tuple(events))


class _Latest(NamedTuple):
    """The revision of the present generation. `taken`: the name is somebody else's."""

    name: str
    revision: Revision | None
    taken: bool = False


def _latest(configuration: Configuration, view: View) -> _Latest:
    meta = configuration.metadata
    own = configuration.spec.template.metadata.name
    if not own:
        for revision in view.children(Revision, configuration):
            if revision.metadata.labels.get(CONFIGURATION_GENERATION) == str(meta.generation):
                return _Latest(revision.metadata.name, revision)
    name = own or revision_name(meta.name, meta.generation)
    found = view.find(Revision, meta.namespace, name)
    return _Latest(name, found, taken=found is not None and not described_by(found, configuration))


def _judge(configuration: Configuration, latest: Revision, marks: Conditions, events: list[Note]) -> None:
    """A failed latest revision fails the Configuration."""
    ready = condition(latest.status.conditions, READY)
    if not is_false(ready):
        return
    assert ready is not None
    name = latest.metadata.name
    marks.false(READY, "RevisionFailed", f'Revision "{name}" failed with message: {ready.message}.')
    was = condition(configuration.status.conditions, READY)
    if was is not None and (was.status, was.reason, was.message) == (
        "False",
        marks[READY].reason,
        marks[READY].message,
    ):
        return
    if name == configuration.status.latest_ready_revision_name:
        text = f'Latest ready revision "{name}" became not ready'
        events.append(Note(configuration, "Warning", "LatestReadyFailed", text))
    else:
        text = f'Latest created revision "{name}" has failed'
        events.append(Note(configuration, "Warning", "LatestCreatedFailed", text))


def _latest_ready(
    configuration: Configuration, status: ConfigurationStatus, view: View, marks: Conditions, events: list[Note]
) -> ConfigurationStatus:
    """The newest ready one between the present latestReady and now: it never goes back but to a name asked for."""
    before = status.latest_ready_revision_name
    revision = next((r for r in _candidates(configuration, before, view) if _is_ready(r)), None)
    if revision is None:
        return status
    name = revision.metadata.name
    if name == status.latest_created_revision_name:
        marks.true(READY)
    if name != before:
        if not before:
            events.append(Note(configuration, "Normal", "ConfigurationReady", "Configuration becomes ready"))
        text = f'LatestReadyRevisionName updated to "{name}"'
        events.append(Note(configuration, "Normal", "LatestReadyUpdate", text))
    return replace(status, latest_ready_revision_name=name)


def _candidates(configuration: Configuration, latest_ready: str, view: View) -> list[Revision]:
    meta = configuration.metadata
    named = configuration.spec.template.metadata.name
    start = 0
    present = view.find(Revision, meta.namespace, latest_ready) if latest_ready else None
    if present is not None:
        start = _generation(present)
    found = [
        revision
        for revision in view.children(Revision, configuration)
        if start <= _generation(revision) <= meta.generation or revision.metadata.name == named
    ]
    return sorted(found, key=lambda r: (r.metadata.name != named, -_generation(r), r.metadata.name))


def _generation(revision: Revision) -> int:
    text = revision.metadata.labels.get(CONFIGURATION_GENERATION, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _is_ready(revision: Revision) -> bool:
    return is_true(condition(revision.status.conditions, READY))


def _revision(configuration: Configuration, name: str, now: float) -> Revision:
    """The template, verbatim, with the labels that say whose it is."""
    meta, template = configuration.metadata, configuration.spec.template
    labels = {
        **template.metadata.labels,
        CONFIGURATION: meta.name,
        CONFIGURATION_GENERATION: str(meta.generation),
        CONFIGURATION_UID: meta.uid,
        **{key: meta.labels[key] for key in (SERVICE, SERVICE_UID) if key in meta.labels},
    }
    annotations = dict(template.metadata.annotations)
    if modifier := meta.annotations.get(LAST_MODIFIER) or meta.annotations.get(CREATOR):
        annotations[CREATOR] = modifier
    annotations[ROUTING_STATE_MODIFIED] = rfc3339(now)
    if routes := meta.annotations.get(ROUTES):
        annotations[ROUTES] = routes
        labels[ROUTING_STATE] = "active"
    else:
        labels[ROUTING_STATE] = "pending"
    return Revision(
        metadata=ObjectMeta(
            name=name,
            namespace=meta.namespace,
            labels=labels,
            annotations=annotations,
            owner_references=(owner(configuration),),
        ),
        spec=template.spec,
    )
