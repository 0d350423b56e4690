"""What ConfigMaps say about Brokers: defaults for new ones, and how the store of one is kept. Pure.

Path: reconcile/configmaps.py → [broker_config] → admission/defaults_eventing.py, reconcile/broker.py.

`config-br-defaults` of namespace knative-eventing gives class, configuration and delivery to Brokers that do not say.
The ConfigMap that a Broker's `spec.config` names has what its store is told: Knative's keys for Kafka, ours for every
class. Knative's template for channels is accepted and means nothing: there are no channels underneath.

Source: spec/eventing.md §12.1, §22.4, §28.1, Appendix A2; docs/triggers.md.
"""

import base64
from collections.abc import Callable, Mapping, Sequence

import msgspec

from controlplane.admission import fielderror, validate_delivery
from controlplane.broker_defaults import CLASSES, KEY, NAME, BrokerDefaults, Scope, is_kafka
from controlplane.config_data import Data, mapping
from controlplane.store.contract import Key
from controlplane.strict import close_to
from dataplane.errors import ConfigFault
from dataplane.resources.eventing import DeliverySpec, KReference

_DISALLOW = "disallowDifferentNamespaceConfig"
_REFERENCE = ("apiVersion", "kind", "name", "namespace")


def parse_defaults(data: Data) -> BrokerDefaults:
    """Raises ConfigFault. Without the key: what Knative does without the ConfigMap."""
    if not data.get(KEY, "").strip():
        return BrokerDefaults()
    try:
        found = mapping(data[KEY], KEY)
        _no_misspelling(found, ("clusterDefault", "namespaceDefaults", _DISALLOW), KEY)
        if not isinstance(found.get(_DISALLOW, False), bool):
            raise ConfigFault(f"{_DISALLOW}: true or false is needed")
        namespaces = _mapping(found.get("namespaceDefaults"), "namespaceDefaults")
        return BrokerDefaults(
            cluster=_scope(found.get("clusterDefault"), "clusterDefault"),
            namespaces={name: _scope(each, f"namespaceDefaults.{name}") for name, each in namespaces.items()},
            disallow_different_namespace_config=found.get(_DISALLOW) is True,
        )
    except ConfigFault as fault:
        raise ConfigFault(f"{NAME}: {fault}") from None


def _mapping(value: object, where: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigFault(f"{where}: a mapping is needed")
    return value


def _scope(value: object, where: str, *, nested: bool = True) -> Scope:
    data = _mapping(value, where)
    class_ = data.get("brokerClass", "")
    if not isinstance(class_, str) or (class_ and class_ not in CLASSES):
        raise ConfigFault(f"{where}.brokerClass: one of {', '.join(CLASSES)} is needed")
    reference = {key: data[key] for key in _REFERENCE if data.get(key)}
    classes = _mapping(data.get("brokerClasses"), f"{where}.brokerClasses") if nested else {}
    _no_misspelling(data, ("brokerClass", *_REFERENCE, "delivery", "brokerClasses"), where)
    try:
        delivery = _delivery(data.get("delivery"), f"{where}.delivery")
        return Scope(
            broker_class=class_,
            config=msgspec.convert(reference, KReference) if reference else None,
            delivery=delivery,
            classes={
                name: _scope(each, f"{where}.brokerClasses.{name}", nested=False) for name, each in classes.items()
            },
        )
    except msgspec.ValidationError as error:
        raise ConfigFault(f"{where}: {error}") from None


def _delivery(value: object, where: str) -> DeliverySpec | None:
    """What is wrong with it would be refused at every Broker that gets it, whose author did not write it."""
    if not value:
        return None
    _no_misspelling(
        _mapping(value, where), [field.encode_name for field in msgspec.structs.fields(DeliverySpec)], where
    )
    found = msgspec.convert(value, DeliverySpec)
    if wrong := fielderror.text(fielderror.under(where, validate_delivery.delivery(found))):
        raise ConfigFault(wrong)
    return found


def _no_misspelling(found: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in found:
        if key not in known and (near := close_to(str(key), known)):
            raise ConfigFault(f"{where}.{key}: no such key; did you mean {near}?")


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """settings: fields of the store's LogSettings by name; config: what one kind of store knows."""

    settings: dict[str, float] = {}
    config: dict[str, str] = {}


# Keys of ours, every class: how long and how much a broker keeps. As in the process's settings (docs/settings.md).
_SETTINGS: dict[str, Callable[[str], float]] = {
    "retention_s": float,
    "retention_bytes": int,
    "quota_bytes": int,
    "parked_max": int,
    "dead_lettered_max": int,
    "dedup_window_s": float,
}
_OURS = "eventing.dataplane.dev/"
STORE, DURABILITY = _OURS + "store", _OURS + "durability"  # annotations of a Broker's status, for people
_TOPIC = "default.topic"  # of status alone: what the store says that it is
EXTERNAL_TOPIC = "kafka.eventing.knative.dev/external.topic"  # of a Broker: a topic that is there already
_IGNORED = ("channel-template-spec", "_example")
_POSITIVE = ("default.topic.partitions", "default.topic.replication.factor")
_TOPIC_CONFIG = "default.topic.config."  # and any name of Kafka's
_CONFIG_KEYS_MAX = 100

SECRET_NAME, SECRET_NAMESPACE = "auth.secret.ref.name", "auth.secret.ref.namespace"
_OF_STORES = (  # docs/stores.md
    "bootstrap.servers",
    *_POSITIVE,
    SECRET_NAME,
    SECRET_NAMESPACE,
    EXTERNAL_TOPIC,
    "external.topic",
    "keyless.order",
    "brokers.topic.template",
    "brokers.dlq.topic.template",
    "triggers.consumergroup.template",
    "redis.shards",
)
_SECRET = ("password", "user.key")
SECRET_KEYS = ("protocol", "sasl.mechanism", "user", "password", "ca.crt", "user.crt", "user.key", "user.skip")


def read_store(data: Mapping[str, str], class_: str) -> StoreConfig:
    """What a Broker's ConfigMap tells its store. Raises ConfigFault."""
    settings: dict[str, float] = {}
    config: dict[str, str] = {}
    for key, text in data.items():
        if key in _SETTINGS:
            try:
                settings[key] = _SETTINGS[key](text)
            except ValueError:
                settings[key] = -1
            if not 0 <= settings[key] < float("inf"):
                raise ConfigFault(f"{key}: a number that is not negative is needed, 0 = no bound")
        elif key not in _IGNORED:
            if key in _SECRET:  # what is read here is shown in status
                raise ConfigFault(f"{key}: a ConfigMap is no place for it; {SECRET_NAME} names the Secret that has it")
            if near := _meant(key):
                raise ConfigFault(f"{key}: no such key; did you mean {near}?")
            config[key] = text
    if len(config) > _CONFIG_KEYS_MAX:
        raise ConfigFault(f"more than {_CONFIG_KEYS_MAX} keys")
    if is_kafka(class_):
        if not config.get("bootstrap.servers", "").strip():
            raise ConfigFault("bootstrap.servers: host:port, comma-separated, is missing")
        for key in _POSITIVE:
            if key in config and not (config[key].isascii() and config[key].isdigit() and int(config[key]) > 0):
                raise ConfigFault(f"{key}: a whole number greater than 0 is needed")
    return StoreConfig(settings=settings, config=config)


def _meant(key: str) -> str:
    """The key that is misspelled as `key`, which would silently have no effect; "" for what may be somebody else's."""
    known = (*_SETTINGS, *_OF_STORES)
    return "" if key in (*known, *SECRET_KEYS) or key.startswith(_TOPIC_CONFIG) else close_to(key, known)


def secret_key(annotations: Mapping[str, str], namespace: str) -> Key | None:
    """The Secret with the credentials, from what was read of the ConfigMap. `namespace`: of the ConfigMap."""
    name = annotations.get(SECRET_NAME, "")
    return Key("", "Secret", annotations.get(SECRET_NAMESPACE) or namespace, name) if name else None


def read_secret(data: Mapping[str, str]) -> dict[str, str]:
    """Credentials of Kafka (spec §22.4) out of a Secret's data. What is no text is left out."""
    found: dict[str, str] = {}
    for key in SECRET_KEYS:
        if key in data:
            try:
                found[key] = base64.b64decode(data[key]).decode()
            except ValueError:
                continue
    return found


def written(one: StoreConfig, class_: str) -> dict[str, str]:
    """As annotations of status, where Knative shows it; `from_written` reads them. STORE says that it was read."""
    settings = {key: f"{value:.15g}" for key, value in one.settings.items()}
    return {**one.config, **settings, STORE: CLASSES[class_] or "default"}


def from_written(annotations: Mapping[str, str]) -> StoreConfig:
    settings = {key: _SETTINGS[key](text) for key, text in annotations.items() if key in _SETTINGS}
    config = {k: v for k, v in annotations.items() if k not in _SETTINGS and k != _TOPIC and not k.startswith(_OURS)}
    return StoreConfig(settings=settings, config=config)
