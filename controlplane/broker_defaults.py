"""Classes of Brokers, and what a new Broker gets that does not say: class, configuration, delivery. Pure.

Path: broker_config.parse_defaults → [broker_defaults] → admission/defaults_eventing.py, reconcile/broker.py.

`BrokerDefaults()` is Knative without its ConfigMap config-br-defaults. Configuration goes only to the class that it was
written for; delivery to every class.

Source: spec/eventing.md §9.5, §12.1, Appendix A2.
"""

from typing import Literal

import msgspec

from dataplane.resources.eventing import DeliverySpec, KReference

NAMESPACE = "knative-eventing"
NAME = "config-br-defaults"
KEY = "default-br-config"
CHANNEL_DEFAULT = "config-br-default-channel"

MT = "MTChannelBasedBroker"
StoreKind = Literal["", "memory", "sqlite", "redis", "kafka"]

# class → store; "" = the default of the process. The last three are ours.
CLASSES: dict[str, StoreKind] = {
    MT: "",
    "Kafka": "kafka",
    "KafkaNamespaced": "kafka",
    "Memory": "memory",
    "SQLite": "sqlite",
    "Redis": "redis",
}


def is_kafka(class_: str) -> bool:
    return CLASSES.get(class_) == "kafka"


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole machine or of one namespace. `classes`: configuration and delivery by class."""

    broker_class: str = ""
    config: KReference | None = None
    delivery: DeliverySpec | None = None
    classes: dict[str, "Scope"] = {}


class BrokerDefaults(msgspec.Struct, frozen=True, kw_only=True):
    cluster: Scope = Scope(
        broker_class=MT, delivery=DeliverySpec(retry=10, backoff_policy="exponential", backoff_delay="PT0.2S")
    )
    namespaces: dict[str, Scope] = {}
    disallow_different_namespace_config: bool = False

    def broker_class(self, namespace: str) -> str:
        scope = self.namespaces.get(namespace)
        return (scope.broker_class if scope else "") or self.cluster.broker_class or MT

    def config(self, namespace: str, class_: str) -> KReference | None:
        """Only what was meant for this class: a channel template is no Kafka configuration."""
        for scope in self._scopes(namespace):
            if class_ in scope.classes:
                return scope.classes[class_].config
            if scope.config is not None and (scope.broker_class or self.cluster.broker_class) == class_:
                return scope.config
        return None

    def delivery(self, namespace: str, class_: str) -> DeliverySpec | None:
        for scope in self._scopes(namespace):
            if class_ in scope.classes and scope.classes[class_].delivery is not None:
                return scope.classes[class_].delivery
            if scope.delivery is not None:
                return scope.delivery
        return None

    def _scopes(self, namespace: str) -> list[Scope]:
        own = self.namespaces.get(namespace)
        return [self.cluster] if own is None else [own, self.cluster]
