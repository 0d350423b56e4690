"""Hop 2 as its own process: a request of a gateway becomes a waiter of its revision.

Path: gateway → net/server.py → [accept] → admission.py → forward.py → pod.

Healthy as long as it can serve: an autoscaler that cannot be reached is not a reason to take the activator away
(AC-08).

Source: spec/serving.md §8.1–8.5; reliability.md AC-06, AC-08.
"""

import logging

from activator.admission import Activator
from activator.forward import Forward, Meters
from activator.settings import ActivatorSettings
from dataplane.errors import BadRequest, Draining, NoRoute
from dataplane.net.engine import Engine
from dataplane.net.listener import Listener, ListenerSettings
from dataplane.net.server import ServerConnection
from dataplane.resources.snapshot import Change, Revision, Snapshot
from dataplane.wire.headers import Field, from_hop

log = logging.getLogger(__name__)

_PROBE = int(Field.NETWORK_PROBE)
_HASH = int(Field.NETWORK_HASH)
_REVISION = int(Field.REVISION)
_NAMESPACE = int(Field.NAMESPACE)
_KUBELET = int(Field.KUBELET_PROBE)
_USER_AGENT = int(Field.USER_AGENT)
_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]


class ActivatorServer:
    """Listens for gateways. `activator` does the holding, and may be shared with a gateway in the same process."""

    def __init__(
        self,
        *,
        engine: Engine,
        activator: Activator,
        settings: ActivatorSettings,
        cluster_domain: str = "cluster.local",
    ) -> None:
        self._engine = engine
        self._activator = activator
        self._settings = settings
        self._suffix = f".svc.{cluster_domain}".encode()
        self._fields = from_hop()
        self._snapshot = Snapshot()
        self._draining = False
        self._meters = Meters(engine.registry)
        self._listener = Listener(
            name="activator",
            engine=engine,
            handler=self._handle,
            trusted=lambda peer: self._fields,
            settings=ListenerSettings(),
        )

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        """Which revisions exist; the activator itself is told separately (it may serve others too)."""
        before, self._snapshot = self._snapshot.revisions, snapshot
        for key in before.keys() - snapshot.revisions.keys():
            gone = before[key]
            self._meters.http.forget((gone.namespace, gone.service, gone.configuration, gone.name))

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        self._meters.address = address = await self._listener.start(host, port)
        return address

    async def drain(self) -> None:
        """Serve what waits until the drain deadline, then hand it back with a retryable mark (AC-06)."""
        self._draining = True
        engine = self._engine
        deadline = engine.clock() + self._settings.drain_timeout_s
        engine.loop.call_at(deadline, self._activator.hand_back)
        await self._listener.drain(deadline=deadline + 1.0)
        self._activator.hand_back()

    # ---- connections → us -------------------------------------------------------------------------

    def _handle(self, connection: ServerConnection) -> None:
        seen = connection.request.seen
        agent = seen.get(_USER_AGENT, b"")
        if agent.startswith(b"kube-probe/") or _KUBELET in seen:
            if self._draining:
                connection.fail(Draining())
            else:
                connection.respond(200, [], b"")
            return
        if _PROBE in seen:
            self._probe(connection, seen[_PROBE], seen.get(_HASH, b""))
            return
        key = self._revision_of(connection)
        revision = self._snapshot.revisions.get(key)
        if revision is None:
            text = f'Error getting active endpoint: revision.serving.knative.dev "{key}" not found'
            connection.respond(404, [*_TEXT, (b"x-dp-error", NoRoute.code.encode())], text.encode())
            return
        self._serve(connection, revision)

    def _serve(self, connection: ServerConnection, revision: Revision) -> None:
        Forward(self._engine, connection, self._activator, revision, self._meters, self._wanted).start()

    def _wanted(self, revision: str) -> bool:
        return revision in self._snapshot.revisions

    def _probe(self, connection: ServerConnection, asked: bytes, hash_: bytes) -> None:
        if asked == b"activator":
            connection.respond(200, _TEXT, b"activator")
        elif asked == b"probe" and hash_:
            connection.respond(200, [(b"k-network-hash", hash_)], b"")
        elif asked == b"probe":
            connection.fail(BadRequest("probe"))
        else:
            connection.respond(400, _TEXT, b'unexpected probe header value: "%b"' % asked)

    def _revision_of(self, connection: ServerConnection) -> str:
        """Headers first, else a host `<revision>.<namespace>.svc.<cluster-domain>` (spec §8.3)."""
        request = connection.request
        name, namespace = request.seen.get(_REVISION), request.seen.get(_NAMESPACE)
        if name is None or namespace is None:
            host = request.host_key
            if not host.endswith(self._suffix):
                return ""
            name, _, namespace = host.removesuffix(self._suffix).partition(b".")
        return f"{namespace.decode('latin-1')}/{name.decode('latin-1')}"
