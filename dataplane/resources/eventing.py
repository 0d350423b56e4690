"""eventing.knative.dev/v1 (Broker, Trigger) and the parts they share with every sender: Destination, DeliverySpec.

Path: api, manifests → [eventing] → controlplane/reconcile/{broker,trigger}.py → compile_eventing.py.

Source: spec/eventing.md §8.1, §10, §12.
"""

import msgspec

from dataplane.resources.meta import Condition, Model, Resource

GROUP = "eventing.knative.dev"
API_VERSION = "eventing.knative.dev/v1"

BROKER_CLASS = "eventing.knative.dev/broker.class"
BROKER_LABEL = "eventing.knative.dev/broker"
INJECTION = "eventing.knative.dev/injection"
DEPENDENCY = "knative.dev/dependency"
STARTED_AT = "delivery.dataplane.dev/started-at"  # of a Trigger's status: where it began to read


class KReference(Model, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    group: str = ""
    address: str = ""


class Destination(Model, frozen=True, kw_only=True):
    ref: KReference | None = None
    uri: str = ""
    ca_certs: str = msgspec.field(name="CACerts", default="")
    audience: str = ""


class DeliverySpec(Model, frozen=True, kw_only=True):
    """Durations are ISO 8601 (`PT0.2S`)."""

    dead_letter_sink: Destination | None = None
    retry: int | None = None
    timeout: str = ""
    backoff_policy: str = ""
    backoff_delay: str = ""
    retry_after_max: str = ""
    format: str = ""


class Addressable(Model, frozen=True, kw_only=True):
    name: str = ""
    url: str = ""
    ca_certs: str = msgspec.field(name="CACerts", default="")
    audience: str = ""


class AppliedPolicy(Model, frozen=True, kw_only=True):
    api_version: str = ""
    name: str = ""


class BrokerSpec(Model, frozen=True, kw_only=True):
    config: KReference | None = None
    delivery: DeliverySpec | None = None


class BrokerStatus(Model, frozen=True, kw_only=True):
    """`annotations`: what was read from the ConfigMap of spec.config; compile_eventing.py reads it here."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    annotations: dict[str, str] = {}
    address: Addressable | None = None
    addresses: tuple[Addressable, ...] = ()
    dead_letter_sink_uri: str = ""
    dead_letter_sink_ca_certs: str = msgspec.field(name="deadLetterSinkCACerts", default="")
    dead_letter_sink_audience: str = ""
    policies: tuple[AppliedPolicy, ...] = ()


class Broker(Resource, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Broker"
    spec: BrokerSpec = BrokerSpec()
    status: BrokerStatus = BrokerStatus()


class TriggerFilter(Model, frozen=True, kw_only=True):
    attributes: dict[str, str] = {}


class TriggerSpec(Model, frozen=True, kw_only=True):
    """`filters`: dialect objects, read by dataplane/policy/filters.py."""

    broker: str = ""
    broker_ref: KReference | None = None
    filter: TriggerFilter | None = None
    filters: tuple[dict[str, object], ...] = ()
    subscriber: Destination = Destination()
    delivery: DeliverySpec | None = None


class AuthStatus(Model, frozen=True, kw_only=True):
    service_account_name: str = ""
    service_account_names: tuple[str, ...] = ()


class TriggerStatus(Model, frozen=True, kw_only=True):
    """`dead_letter_sink_uri`: the one in force, the Broker's when the Trigger has none (spec §10.4)."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    annotations: dict[str, str] = {}
    auth: AuthStatus | None = None
    subscriber_uri: str = ""
    subscriber_ca_certs: str = msgspec.field(name="subscriberCACerts", default="")
    subscriber_audience: str = ""
    dead_letter_sink_uri: str = ""
    dead_letter_sink_ca_certs: str = msgspec.field(name="deadLetterSinkCACerts", default="")
    dead_letter_sink_audience: str = ""


class Trigger(Resource, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Trigger"
    spec: TriggerSpec = TriggerSpec()
    status: TriggerStatus = TriggerStatus()
