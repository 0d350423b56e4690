"""Brokers and triggers as a broker process must know them: compiled, resolved, merged; the eventing half of a snapshot.

Path: controlplane/compile_eventing.py → snapshot → broker/service.py.

Everything that needs the control plane has been decided here: addresses are URLs, inheritance (spec §10.4) is merged,
defaults are filled in. A broker process never reads a Broker or Trigger resource.

Source: spec/eventing.md §8, §10, §11, §12.
"""

from typing import Literal

import msgspec


class _Value(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel", gc=False
):
    pass


class Target(_Value, frozen=True, kw_only=True):
    """Where events are POSTed: an absolute http or https URL. `ca_certs`: PEM that signs it beside the system's.

    via: `HOST:PORT` that serves the URL's cluster-local name, which no DNS may know; "" = resolve it. broker: it is one
    of ours, so it is told how many hops are left: brokers that feed each other would never end.
    """

    url: str
    via: str = ""
    broker: bool = False
    ca_certs: str = ""
    audience: str = ""


class DeliveryPolicy(_Value, frozen=True, kw_only=True):
    """How hard to try (spec §9.5-9.7). Seconds. retry: attempts after the first.

    retry_after_max_s: cap on a Retry-After; None = `max_backoff_s`; 0 = ignore the header. max_backoff_s and timeout_s:
    0 = the default of the process.
    """

    retry: int = 0
    backoff: Literal["linear", "exponential"] = "exponential"
    delay_s: float = 0.2
    max_backoff_s: float = 300.0
    timeout_s: float = 30.0
    retry_after_max_s: float | None = None
    format: Literal["", "binary", "json"] = ""


class Broker(_Value, frozen=True, kw_only=True):
    """A broker.

    store: which kind keeps it; "" = the default of the process. settings: fields of broker.store.contract.LogSettings
    by name; config: what only one kind of store knows; secret: the same, but never shown. waits_for: what is missing,
    for people: it exists and cannot be opened yet, so its producers are told to come again.
    """

    namespace: str
    name: str
    uid: str = ""
    store: Literal["", "memory", "sqlite", "redis", "kafka"] = ""
    settings: dict[str, float] = {}
    config: dict[str, str] = {}
    secret: dict[str, str] = {}
    waits_for: str = ""

    def __repr__(self) -> str:
        return f"Broker({self.namespace}/{self.name}, uid={self.uid}, store={self.store}, secret={sorted(self.secret)})"


class Trigger(_Value, frozen=True, kw_only=True):
    """A trigger of the broker `namespace/broker`.

    uid: the identity of its progress. filters: dialect objects as in spec §8.4, ANDed; none = every event.
    ordered: one in flight per lane (spec §11.7). max_in_flight, rate_per_s: 0 = the default of the process / no limit.
    start: `latest`, `earliest`, an RFC 3339 time, or a position of the log; holds while there is no progress yet.
    """

    namespace: str
    name: str
    broker: str
    subscriber: Target
    uid: str = ""
    filters: tuple[dict[str, object], ...] = ()
    dead_letter: Target | None = None
    delivery: DeliveryPolicy = DeliveryPolicy()
    ordered: bool = False
    max_in_flight: int = 0
    rate_per_s: float = 0.0
    start: str = "latest"
    paused: bool = False


class Reported(_Value, frozen=True, kw_only=True):
    """What a broker process says of a broker or trigger of the snapshot; the control plane turns it into conditions.

    key: `namespace/name`. uid: of which object it speaks. ready: a broker accepts events durably; of a trigger, every
    event accepted from now on reaches it (spec §12.8). reason: CamelCase, "" when ready. durability: of a broker, in
    the store's words; shown: where its events are, for its status. start: of a trigger, where it began to read.
    """

    kind: Literal["broker", "trigger"]
    key: str
    uid: str = ""
    ready: bool = False
    reason: str = ""
    message: str = ""
    durability: str = ""
    shown: dict[str, str] = {}
    start: str = ""
