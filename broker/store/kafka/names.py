"""What is called what in Kafka, and what a broker's owner may say about it.

Source: spec/eventing.md §28.1, §28.3, §28.7, appendix A4.
"""

import re
from collections.abc import Mapping

import msgspec

from broker.store.contract import LogSettings
from dataplane.errors import StoreFault

BROKER_TOPIC = "knative-broker-{namespace}-{name}"
KEPT_TOPIC = "knative-dlq-{namespace}-{name}"
TRIGGER_GROUP = "knative-trigger-{namespace}-{name}"
NAME_CHARS_MAX = 249

_GO = re.compile(r"\{\{-?\s*\.(Namespace|Name)\s*-?\}\}")
_BAD = re.compile(r"[^a-zA-Z0-9._-]")


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One broker as Kafka has it.

    external: the topic is somebody else's: it is neither made nor changed nor deleted. configs: of the topic, when it
    is made. keyless_in_order: events without a partitionkey all go to one partition.
    """

    broker: str
    name: str
    kept: str
    group: str
    bootstrap: str
    external: bool = False
    partitions: int = 10
    replication: int = 1
    configs: dict[str, str] = {}
    keyless_in_order: bool = False

    def group_of(self, trigger: str) -> str:
        """`trigger` is namespace/name. The template may hold `{broker}` too."""
        return _fill(self.group.replace("{broker}", self.broker.replace("/", "-")), trigger)


def topic_of(broker: str, settings: LogSettings, bootstrap: str) -> Topic:
    """`broker` is namespace/name; `bootstrap` holds when the broker's config names no server. Raises StoreFault."""
    config = settings.config
    external = config.get("kafka.eventing.knative.dev/external.topic") or config.get("external.topic", "")
    name = external or _fill(config.get("brokers.topic.template", BROKER_TOPIC), broker)
    kept = _fill(config.get("brokers.dlq.topic.template", KEPT_TOPIC), broker)
    for topic in (name, kept):
        if _BAD.search(topic) or len(topic) > NAME_CHARS_MAX or topic in (".", ".."):
            raise StoreFault(f"{topic!r} cannot be the name of a topic: at most 249 of a-z, A-Z, 0-9, '.', '_' and '-'")
    return Topic(
        broker=broker,
        name=name,
        kept=kept,
        group=config.get("triggers.consumergroup.template", TRIGGER_GROUP),
        bootstrap=config.get("bootstrap.servers", bootstrap),
        external=bool(external),
        partitions=_positive(config, "default.topic.partitions", 10),
        replication=_positive(config, "default.topic.replication.factor", 1),
        configs=_configs(settings),
        keyless_in_order=config.get("keyless.order", "") == "true",
    )


def _configs(settings: LogSettings) -> dict[str, str]:
    """Kafka drops by age and size, settled or not: so the size is that of the quota."""
    partitions = _positive(settings.config, "default.topic.partitions", 10)
    ours = {
        "retention.ms": str(int(settings.retention_s * 1000)) if settings.retention_s else "-1",
        "retention.bytes": str(max(1, settings.quota_bytes // partitions)) if settings.quota_bytes else "-1",
    }
    prefix = "default.topic.config."
    return ours | {key[len(prefix) :]: value for key, value in settings.config.items() if key.startswith(prefix)}


def _positive(config: Mapping[str, str], key: str, otherwise: int) -> int:
    text = config.get(key, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise StoreFault(f"{key} is {text!r}; a whole number above 0 would be right")
    return int(text)


def _fill(template: str, whole: str) -> str:
    """`{namespace}` and `{name}`, or Knative's `{{ .Namespace }}` and `{{ .Name }}`."""
    namespace, _, name = whole.partition("/")
    plain = _GO.sub(lambda found: "{" + found[1].lower() + "}", template)
    return plain.replace("{namespace}", namespace).replace("{name}", name)
