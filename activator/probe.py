"""Does the pod answer? Asked before its first request (sidecars) or after a failure, on the connection that will be
used.

Path: hold.py → [probe] → net/pool.py → pod; a connection that proved the pod goes to the pool, and the first request
takes it.

A pod without a sidecar was probed by the kubelet with the user's own probe; here a connection is proof enough. A
queue-proxy must answer `queue`, and with the identity that discovery named: another pod may have got the address
(AC-04).

Source: spec/serving.md §8.10; reliability.md AC-03, AC-04.
"""

import asyncio
from collections.abc import Callable

from activator.pods import Pod
from dataplane.errors import ConnectFailed, DataplaneError
from dataplane.net.client import ClientConnection
from dataplane.net.engine import Engine
from dataplane.net.timers import NEVER
from dataplane.telemetry.metrics import Cell

TIMEOUT_S = 0.3
PERIOD_FIRST_S = 0.02
PERIOD_MAX_S = 0.2
# A killed process closes its sockets one by one, the listening one last (Linux runs the work of an exiting task last
# in, first out): for a moment its connections are reset and it still accepts. Who believes that wastes its one retry.
SETTLE_S = 0.01


class Prober:
    """All probes of one process."""

    def __init__(self, engine: Engine, proved: Callable[[Pod], None]) -> None:
        self._engine = engine
        self._proved = proved
        outcomes = engine.registry.counter("dataplane_activator_probes_total", "Pod probes.", ("outcome",))
        self._passed, self._failed = outcomes.cell("passed"), outcomes.cell("failed")

    def probe(self, pod: Pod) -> None:
        """Until it passes, or the pod is no longer listed. Asking twice changes nothing."""
        if pod.probing:
            return
        pod.probing = True
        probe = _Probe(self._engine, pod, self._done, self._failed)
        if pod.failed_at and not pod.sidecar:
            self._engine.tasks.spawn(_after(SETTLE_S, probe.attempt), f"probe {pod.pod}")
        else:
            probe.attempt()

    def _done(self, pod: Pod, passed: bool) -> None:
        pod.probing = False
        if passed:
            self._passed.v += 1
            self._proved(pod)


class _Probe:
    """One pod until it passes. An attempt is over exactly once: `_serial` outdates late callbacks."""

    __slots__ = (
        "_address",
        "_connection",
        "_dialling",
        "_done",
        "_engine",
        "_failed",
        "_period_s",
        "_pod",
        "_waits",
        "wake",
    )

    def __init__(self, engine: Engine, pod: Pod, done: Callable[[Pod, bool], None], failed: Cell) -> None:
        self._engine = engine
        self._pod = pod
        self._done = done
        self._failed = failed
        self._period_s = PERIOD_FIRST_S
        self._connection: ClientConnection | None = None
        self._dialling = False
        self._waits = False  # between two attempts
        self._address = pod.address
        self.wake = NEVER

    def attempt(self) -> None:
        pod = self._pod
        if not pod.listed or pod.draining or pod.proven:
            self._done(pod, False)
            return
        self._waits = False
        self._dialling = True
        self._address = pod.address
        self._engine.timers.at(self, self._engine.clock() + TIMEOUT_S)
        self._engine.pool.dial(self._address, self)

    # ---- timers and pool → us -----------------------------------------------------------------

    def on_timer(self, now: float) -> None:
        if self._waits:
            self.attempt()
        else:
            self._again()

    def on_connected(self, connection: ClientConnection) -> None:
        self._dialling = False
        if not self._pod.sidecar:
            self._pass(connection)
            return
        self._connection = connection
        connection.send(self, _head(self._pod))

    def on_connect_failed(self, error: ConnectFailed) -> None:
        self._dialling = False
        self._again()

    # ---- connection → us (client.User) ----------------------------------------------------------

    def on_response(self, connection: ClientConnection) -> None:
        reader = connection.reader
        if not reader.complete:
            return
        identity = reader.header(b"x-dp-pod") or b""
        if reader.status == 200 and b"".join(reader.body) == b"queue" and identity in (b"", self._pod.pod.encode()):
            self._connection = None
            self._pass(connection)
        else:
            self._again()

    def on_upstream_lost(self, connection: ClientConnection, error: DataplaneError) -> None:
        self._connection = None
        self._again()

    def on_tunnel_data(self, data: bytes) -> None: ...

    def on_tunnel_eof(self) -> None: ...

    def on_upstream_blocked(self) -> None: ...

    def on_upstream_writable(self) -> None: ...

    # ---- helpers ----------------------------------------------------------------------------------

    def _pass(self, connection: ClientConnection) -> None:
        self._engine.timers.forget(self)
        self._engine.pool.give(connection)
        self._done(self._pod, True)

    def _again(self) -> None:
        self._failed.v += 1
        if self._dialling:
            self._dialling = False
            self._engine.pool.cancel(self._address, self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._waits = True
        self._engine.timers.forget(self)
        self._engine.timers.at(self, self._engine.clock() + self._period_s)
        self._period_s = min(self._period_s * 2, PERIOD_MAX_S)


async def _after(delay_s: float, call: Callable[[], None]) -> None:
    await asyncio.sleep(delay_s)
    call()


def _head(pod: Pod) -> bytes:
    return (
        b"GET /healthz HTTP/1.1\r\nhost: %b:%d\r\nuser-agent: Knative-Activator-Probe\r\nk-network-probe: queue\r\n\r\n"
        % (pod.address[0].encode(), pod.address[1])
    )
