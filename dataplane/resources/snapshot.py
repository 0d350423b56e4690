"""The compiled, read-only view that the control plane publishes and the hops read.

Path: controlplane/publish.py → in-process | HTTP follow | watched file | embedder → gateway, activator, autoscaler.

This is what "the control plane is pluggable" means to a hop, and the public API of embedders: immutable, versioned,
swapped by one assignment. A `Change` carries only what differs, so that one edit among 10 000 routes costs one route.

Values are immutable and dictionaries are never written after construction; a new snapshot shares every unchanged value
with the one before (`is` tells hops what to recompile).

Source: spec/serving.md §6.1 (the KIngress model), architecture.md "The four contracts".
"""

from typing import Literal, TypeVar

import msgspec

from dataplane.resources.scaling import Autoscaling
from dataplane.resources.triggers import Broker, Trigger

V = TypeVar("V")

VERSION = 1  # of this format; a hop refuses a snapshot with another one


class _Value(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel", gc=False
):
    pass


class Split(_Value, frozen=True, kw_only=True):
    """A share of a path's traffic. `revision` is a key of Snapshot.revisions; percents of one path sum to 100."""

    revision: str
    percent: int = 100
    append_headers: dict[str, str] = {}


class Path(_Value, frozen=True, kw_only=True):
    """Literal prefix and exact headers (ANDed). `append_headers` are set, overwriting what the client sent."""

    prefix: str = ""
    headers: dict[str, str] = {}
    rewrite_host: str = ""
    append_headers: dict[str, str] = {}
    splits: tuple[Split, ...] = ()


class Rule(_Value, frozen=True, kw_only=True):
    """Hosts (lower case, no port; none = every host) that share paths. ClusterLocal: on the local listener only."""

    hosts: tuple[str, ...] = ()
    visibility: Literal["ExternalIP", "ClusterLocal"] = "ExternalIP"
    paths: tuple[Path, ...] = ()


class Route(_Value, frozen=True, kw_only=True):
    """What one Knative Route programs. `hash` answers K-Network-Hash probes (spec §6.12)."""

    namespace: str
    name: str
    rules: tuple[Rule, ...] = ()
    hash: str = ""


class Endpoint(_Value, frozen=True, kw_only=True):
    """A pod. `id` is its identity: in-flight counts follow it through unready blips. `address` is `host:port`.

    `sidecar`: a queue-proxy listens there; it enforces the limit itself and answers `K-Network-Probe: queue`.
    `draining`: finish what runs, start nothing.
    """

    id: str
    address: str
    ready: bool = True
    sidecar: bool = False
    draining: bool = False


class Revision(_Value, frozen=True, kw_only=True):
    """What a hop must know to serve one revision. Durations in seconds; 0 = none.

    `failed`: why it cannot serve; requests get 503 at once instead of being held. Empty while it can or may soon.
    """

    namespace: str
    name: str
    service: str = ""
    configuration: str = ""
    protocol: Literal["http1", "h2c"] = "http1"
    container_concurrency: int = 0
    timeout_s: float = 300
    response_start_timeout_s: float = 0
    idle_timeout_s: float = 0
    endpoints: tuple[Endpoint, ...] = ()
    failed: str = ""
    autoscaling: Autoscaling | None = None


class Snapshot(_Value, frozen=True, kw_only=True):
    """Everything. Keys are `namespace/name`. `generation` grows with every change and never repeats.

    activators: separate ones, sorted; with two or more, each uses its own share of a revision's pods.
    """

    generation: int = 0
    version: int = VERSION
    routes: dict[str, Route] = {}
    revisions: dict[str, Revision] = {}
    brokers: dict[str, Broker] = {}
    triggers: dict[str, Trigger] = {}
    activators: tuple[str, ...] = ()


class Change(_Value, frozen=True, kw_only=True):
    """The difference to the snapshot of generation `base`; None removes. base -1 = replaces everything.

    compared: found by comparing two whole snapshots, so what it removes need not have been deleted: a control plane
    that lost its memory has nothing either.
    activators None: as they were.
    """

    generation: int
    base: int = -1
    compared: bool = False
    routes: dict[str, Route | None] = {}
    revisions: dict[str, Revision | None] = {}
    brokers: dict[str, Broker | None] = {}
    triggers: dict[str, Trigger | None] = {}
    activators: tuple[str, ...] | None = None


class Running(_Value, frozen=True, kw_only=True):
    """What a hop says back: requests that it has on pods (by Endpoint.id), with that generation in force.

    Pods that it has none on are left out; `cut`: so are some that it has.
    """

    generation: int
    pods: dict[str, int] = {}
    cut: bool = False


def changed(snapshot: Snapshot, change: Change) -> Snapshot:
    """The snapshot after `change`. Raises ValueError when it does not fit (a change was missed: ask for a full one)."""
    if change.base != -1 and change.base != snapshot.generation:
        raise ValueError(f"change from generation {change.base} does not fit generation {snapshot.generation}")
    fresh = change.base == -1
    return Snapshot(
        generation=change.generation,
        routes=_after({} if fresh else snapshot.routes, change.routes),
        revisions=_after({} if fresh else snapshot.revisions, change.revisions),
        brokers=_after({} if fresh else snapshot.brokers, change.brokers),
        triggers=_after({} if fresh else snapshot.triggers, change.triggers),
        activators=(() if fresh else snapshot.activators) if change.activators is None else change.activators,
    )


def difference(old: Snapshot, new: Snapshot) -> Change:
    """What to send to somebody who has `old`."""
    return Change(
        generation=new.generation,
        base=old.generation,
        routes=_different(old.routes, new.routes),
        revisions=_different(old.revisions, new.revisions),
        brokers=_different(old.brokers, new.brokers),
        triggers=_different(old.triggers, new.triggers),
        activators=None if new.activators == old.activators else new.activators,
    )


def full(snapshot: Snapshot) -> Change:
    """The whole snapshot as a Change: what a follower gets first."""
    return Change(
        generation=snapshot.generation,
        routes=dict(snapshot.routes),
        revisions=dict(snapshot.revisions),
        brokers=dict(snapshot.brokers),
        triggers=dict(snapshot.triggers),
        activators=snapshot.activators,
    )


def _after(old: dict[str, V], change: dict[str, V | None]) -> dict[str, V]:
    if not change:
        return old
    out = dict(old)
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def _different(old: dict[str, V], new: dict[str, V]) -> dict[str, V | None]:
    out: dict[str, V | None] = {}
    for key, value in new.items():
        before = old.get(key)
        if before is not value and before != value:
            out[key] = value
    for key in old.keys() - new.keys():
        out[key] = None
    return out
