"""Hop 1: a connection becomes requests, a request finds its revision.

Path: socket → net/server.py → [accept] → match.py → split.py → forward.py.

    gateway = Gateway(engine=engine, admission=activator, settings=GatewaySettings())
    gateway.apply(snapshot)                          # the whole contract with a control plane
    await gateway.listen("127.0.0.1", 8080)          # external; listen_local for cluster-local visibility

A snapshot is swapped by one assignment: a request sees exactly one generation, and none is delayed (GW-33).

Source: spec/serving.md §6.2, §6.3, §6.12; reliability.md GW-07, GW-33, GW-34.
"""

import functools
import ipaddress
import logging

from dataplane.errors import BadRequest, ConfigFault, NoCapacity, NoRoute
from dataplane.net.accepting import Limits
from dataplane.net.engine import Engine
from dataplane.net.listener import Listener, ListenerSettings
from dataplane.net.server import ServerConnection
from dataplane.policy.admission import Admission
from dataplane.resources.snapshot import VERSION, Change, Revision, Snapshot
from dataplane.wire.headers import Field, FieldTable, from_outside, from_proxy
from gateway.forward import Forward, GatewayMeters, Target
from gateway.match import Entry, RouteTable, match
from gateway.settings import GatewaySettings
from gateway.split import choose

log = logging.getLogger(__name__)

_PROBE = int(Field.NETWORK_PROBE)
_HASH = int(Field.NETWORK_HASH)
_NO_ROUTE, _NO_CAPACITY = NoRoute(), NoCapacity()


class Gateway:
    """Routes requests by the newest snapshot it was given."""

    def __init__(self, *, engine: Engine, admission: Admission, settings: GatewaySettings) -> None:
        self._engine = engine
        self._admission = admission
        self._settings = settings
        self._table = RouteTable()
        self._doors: list[_Door] = []
        self._meters = GatewayMeters(engine.registry)
        self._listeners: list[Listener] = []
        self._outside, self._proxy = from_outside(), from_proxy()
        self._trusted = [ipaddress.ip_network(cidr) for cidr in settings.trusted_proxies]
        self._generation = engine.registry.gauge(
            "dataplane_snapshot_generation", "Generation of the snapshot that requests see."
        ).cell()
        self.snapshot = Snapshot()

    # ---- control plane → us ---------------------------------------------------------------------

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        """From the next request on, `snapshot` holds. `change`: what differs from the one before, if the caller knows.

        Raises ConfigFault (and keeps the last good snapshot) when it is of another format or refers to nothing.
        """
        if snapshot.version != VERSION:
            raise ConfigFault(f"snapshot format {snapshot.version}, this gateway reads {VERSION}")
        table = self._table.updated(self.snapshot, snapshot, change)
        if change is None or change.base == -1:
            changed = self.snapshot.revisions.keys() | snapshot.revisions.keys()
        else:
            changed = set(change.revisions)
        for key in changed:
            revision = snapshot.revisions.get(key)
            for door in self._doors:
                door.update(key, revision, self._meters)
            if revision is None and (before := self.snapshot.revisions.get(key)) is not None:
                self._forget(before)
        self.snapshot = snapshot
        self._table = table
        self._generation.v = snapshot.generation

    # ---- life -----------------------------------------------------------------------------------

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """The external listener: public hosts only. Returns its address. Raises OSError when it cannot bind."""
        return await self._listen("external", False, host, port, reuse_port)

    async def listen_local(self, host: str, port: int, *, reuse_port: bool = False) -> tuple[str, int]:
        """The cluster-local listener: private hosts as well."""
        return await self._listen("cluster_local", True, host, port, reuse_port)

    async def drain(self) -> None:
        """Answer what is here, say goodbye on each connection, close. Bounded by drain_timeout_s."""
        deadline = self._engine.clock() + self._settings.drain_timeout_s
        for listener in self._listeners:
            cut = await listener.drain(deadline=deadline, propagation_s=self._settings.propagation_s)
            if cut:
                log.warning("drain_cut connections=%d", cut)
        self._listeners.clear()

    # ---- connections → us -------------------------------------------------------------------------

    def _on_request(self, door: "_Door", connection: ServerConnection) -> None:
        request = connection.request
        hosts = self._table.internal if door.local else self._table.external
        entries = hosts.get(request.host_key)
        if entries is not None and entries[0].plain:
            entry: Entry | None = entries[0]  # nearly every host has one path: match() would say the same
        else:
            entry = match(hosts, request.host_key, request.target, request)
        if request.seen and _PROBE in request.seen:
            self._probe(connection, entry.hash if entry is not None else None)
            return
        if entry is None:
            if request.target == b"*":
                connection.respond(200, [(b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")], b"")
            else:
                connection.fail(_NO_ROUTE)
            return
        arms = entry.arms
        arm = arms[0] if len(arms) == 1 else choose(entry, self._engine.random)
        if arm is None or (target := door.targets.get(arm.revision)) is None:
            connection.fail(_NO_CAPACITY)
            return
        forward = connection.spare
        if forward is None:
            forward = Forward(self._engine, connection)
            forward.admission = self._admission
        else:
            connection.spare = None
            forward.renew()
        forward.go(target, entry, arm)

    def _probe(self, connection: ServerConnection, programmed: bytes | None) -> None:
        """Is this host programmed, and with what? (spec §6.12)"""
        seen = connection.request.seen
        asked = seen.get(_HASH, b"")
        if seen[_PROBE] != b"probe" or not asked:
            connection.fail(BadRequest("probe"))
        elif programmed is None:
            connection.fail(_NO_ROUTE)
        else:
            answer = programmed if asked == b"override" else asked
            connection.respond(200, [(b"k-network-hash", answer)], b"")

    # ---- helpers ------------------------------------------------------------------------------------

    async def _listen(self, name: str, local: bool, host: str, port: int, reuse_port: bool) -> tuple[str, int]:
        settings = self._settings
        door = _Door(local)
        listener = Listener(
            name=name,
            engine=self._engine,
            handler=functools.partial(self._on_request, door),
            trusted=self._fields_of,
            settings=ListenerSettings(
                connections_max=settings.connections_max,
                per_source_max=settings.connections_per_source_max,
                reuse_port=reuse_port,
                limits=Limits(
                    head_s=settings.head_timeout_s,
                    idle_s=settings.idle_timeout_s,
                    write_stall_s=settings.write_stall_timeout_s,
                ),
            ),
        )
        door.address = address = await listener.start(host, port)
        for key, revision in self.snapshot.revisions.items():
            door.update(key, revision, self._meters)
        self._doors.append(door)
        self._listeners.append(listener)
        return address

    def _fields_of(self, peer: str) -> FieldTable:
        if self._trusted:
            try:
                address = ipaddress.ip_address(peer)
            except ValueError:
                return self._outside
            if any(address in network for network in self._trusted):
                return self._proxy
        return self._outside

    def _forget(self, revision: Revision) -> None:
        self._meters.http.forget((revision.namespace, revision.service, revision.configuration, revision.name))
        self._engine.registry.drop(k8s_namespace_name=revision.namespace, kn_revision_name=revision.name)


class _Door:
    """One listener: which hosts it answers, and its targets by revision, whose series name its address."""

    __slots__ = ("address", "local", "targets")

    def __init__(self, local: bool) -> None:
        self.local = local
        self.address = ("", 0)
        self.targets: dict[str, Target] = {}

    def update(self, key: str, revision: Revision | None, meters: GatewayMeters) -> None:
        known = self.targets.get(key)
        if revision is None:
            if known is not None:
                known.gone = True
                del self.targets[key]
        elif known is not None:
            known.revision = revision
        else:
            self.targets[key] = Target(key, revision, meters, self.address)
