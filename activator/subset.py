"""The snapshot as this activator uses it: of every revision with a limit, its own pods.

Path: runtime/watch.py → [subset] → admission.py.

Pods that get nothing new (not ready, draining) stay for everybody: what runs on them is still counted.

Source: spec/serving.md §8.9.
"""

from msgspec.structs import replace

from dataplane.policy.subset import dealt, share
from dataplane.resources.snapshot import Change, Endpoint, Revision, Snapshot, full


class Subset:
    """`name`: this activator's, as it is in Snapshot.activators."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._activators: tuple[str, ...] = ()
        self._revisions: dict[str, Revision] = {}

    def apply(self, snapshot: Snapshot, change: Change) -> tuple[Snapshot, Change]:
        """Both, with the endpoints that are ours. Values that did not change are the same objects as before."""
        if snapshot.activators != self._activators or change.base == -1:
            self._activators = snapshot.activators
            self._revisions = {key: self._ours(key, one) for key, one in snapshot.revisions.items()}
            mine = replace(snapshot, revisions=self._revisions)
            return mine, full(mine)
        revisions = dict(self._revisions)
        changes: dict[str, Revision | None] = {}
        for key, one in change.revisions.items():
            changes[key] = None if one is None else self._ours(key, one)
            if one is None:
                revisions.pop(key, None)
            else:
                revisions[key] = changes[key]  # type: ignore[assignment]
        self._revisions = revisions
        return replace(snapshot, revisions=revisions), replace(change, revisions=changes)

    def _ours(self, key: str, revision: Revision) -> Revision:
        activators = self._activators
        if not revision.container_concurrency or len(activators) < 2 or self._name not in activators:
            return self._kept(key, revision)
        index = activators.index(self._name)
        serving = sorted((one for one in revision.endpoints if _serves(one)), key=lambda one: one.address)
        own = {serving[position].id for position in dealt(len(serving), len(activators), index)}
        endpoints = tuple(one for one in revision.endpoints if one.id in own or not _serves(one))
        limit = share(revision.container_concurrency, len(serving), len(activators), index)
        return self._kept(key, replace(revision, endpoints=endpoints, container_concurrency=limit))

    def _kept(self, key: str, revision: Revision) -> Revision:
        before = self._revisions.get(key)
        return before if before == revision and before is not None else revision


def _serves(endpoint: Endpoint) -> bool:
    return not endpoint.draining and (endpoint.ready or endpoint.sidecar)
