"""Hop 3: which requests are probes, which are for the app.

Path: socket → net/server.py → [accept] → probe.py (probes) | forward.py → admit.py → the app.

| request                                                              | answer                                      |
|----------------------------------------------------------------------|---------------------------------------------|
| a prober by User-Agent, K-Network-Probe: queue                       | asks the app: 200 `queue`, or 503 empty     |
| the same, another K-Network-Probe or none                            | 400                                         |
| K-Network-Probe: probe                                               | 200, K-Network-Hash echoed; 400 without one |
| any of these while draining                                          | 503 `shutting down`                         |
| K-Network-Probe: queue, an ordinary User-Agent                       | goes to the app like any request            |
| K-Kubelet-Probe, an ordinary User-Agent                              | goes to the app, past the gate and uncounted |

A ready answer names the pod in `x-dp-pod`: another pod may have got the address that the prober knows (AC-04).

Source: spec/serving.md §9.2, §9.3; reliability.md AC-04.
"""

import logging

from dataplane.clock import Clock
from dataplane.errors import Draining
from dataplane.net.accepting import Limits
from dataplane.net.engine import Engine
from dataplane.net.listener import Listener, ListenerSettings
from dataplane.net.server import ServerConnection
from dataplane.wire.headers import Field, from_hop
from queueproxy.admit import Gate
from queueproxy.drain import Drain
from queueproxy.forward import LABELS, App, Forward
from queueproxy.probe import Readiness
from queueproxy.report import Send, Traffic
from queueproxy.settings import QueueProxySettings
from queueproxy.waiting import Waiting

log = logging.getLogger(__name__)

PROBERS = (b"kube-probe/", b"Knative-Activator-Probe", b"Knative-Autoscaling-Probe")
HEAD_S = 60.0
REASON_CHARS_MAX = 200
NO_HASH = b'a probe request must contain a non-empty "K-Network-Hash" header\n'

_AGENT = int(Field.USER_AGENT)
_PROBE = int(Field.NETWORK_PROBE)
_HASH = int(Field.NETWORK_HASH)
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class QueueProxy:
    """The listener in front of one app. `send` takes its reports (see report.py)."""

    def __init__(
        self, *, engine: Engine, settings: QueueProxySettings, clock: Clock, send: Send = lambda stats: None
    ) -> None:
        self._engine = engine
        labels = (settings.namespace, settings.service, settings.configuration, settings.revision)
        depth = engine.registry.gauge("kn_serving_queue_depth", "Requests waiting at the gate.", LABELS).cell(*labels)
        self.drain = Drain(clock=engine.clock, quiet_s=settings.quiet_s, tunnels_s=settings.tunnels_s)
        self.gate = Gate(concurrency=settings.concurrency, depth=depth)
        self.traffic = Traffic(
            revision=f"{settings.namespace}/{settings.revision}",
            pod=settings.pod,
            clock=clock,
            timers=engine.timers,
            send=send,
        )
        self.readiness = Readiness(checks=settings.readiness, loop=engine.loop, tasks=engine.tasks)
        self._app = App(engine=engine, settings=settings, gate=self.gate, traffic=self.traffic, drain=self.drain)
        self._ready = [_TEXT, (b"x-dp-pod", settings.pod.encode())] if settings.pod else [_TEXT]
        fields = from_hop()
        self.listener = Listener(
            name="queueproxy",
            engine=engine,
            handler=self.handle,
            trusted=lambda peer: fields,
            settings=ListenerSettings(limits=Limits(head_s=HEAD_S)),
        )

    def listens_at(self, address: tuple[str, int]) -> None:
        """Where the listener is bound: its metrics say so."""
        self._app.meters.address = address

    def handle(self, connection: ServerConnection) -> None:
        """Called once per request head."""
        seen = connection.request.seen
        agent = seen.get(_AGENT)
        if agent is not None and agent.startswith(PROBERS):
            self._probed(connection, seen.get(_PROBE, b""))
        elif _PROBE in seen and seen[_PROBE] == b"probe":
            self._hashed(connection, seen.get(_HASH, b""))
        else:
            Forward(self._app, connection).start()

    def _probed(self, connection: ServerConnection, value: bytes) -> None:
        if self.drain.draining:
            connection.fail(Draining())
        elif value != b"queue":
            connection.respond(400, [_TEXT], b"unexpected probe header value: " + value + b"\n")
        else:
            self.readiness.ask(_Probed(connection, self))

    def _hashed(self, connection: ServerConnection, value: bytes) -> None:
        if self.drain.draining:
            connection.fail(Draining())
        elif not value:
            connection.respond(400, [_TEXT], NO_HASH)
        else:
            connection.respond(200, [(b"k-network-hash", value)], b"")

    def _answer(self, probed: "_Probed", why_not: str) -> None:
        if self.drain.draining:
            probed.fail(Draining())
        elif why_not:
            probed.answer(503, [(b"x-dp-reason", _sendable(why_not))], b"")
        else:
            probed.answer(200, self._ready, b"queue")


class _Probed(Waiting):
    """A readiness probe that waits for the app's answer."""

    __slots__ = ("_proxy",)

    def __init__(self, connection: ServerConnection, proxy: QueueProxy) -> None:
        super().__init__(connection)
        self._proxy = proxy

    def on_readiness(self, why_not: str) -> None:
        self._proxy._answer(self, why_not)

    def left(self) -> None:
        self._proxy.readiness.forget(self)


def _sendable(text: str) -> bytes:
    """As a header value: words of the operating system, and of whoever the probe was redirected to."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:REASON_CHARS_MAX]).encode()
