"""Brokers kept in Kafka, as one process has them.

Path: launch picks it → [store] → log.py.

Source: store/contract.py; spec/eventing.md §28.1, §28.9, §12.10.
"""

import asyncio
import logging

import msgspec

from broker.store.contract import LogSettings
from broker.store.kafka.append import Appender
from broker.store.kafka.cluster import MESSAGE_BYTES_MAX, Cluster, durability_of
from broker.store.kafka.log import House, KafkaLog
from broker.store.kafka.meters import KafkaMeters
from broker.store.kafka.names import Topic, topic_of
from dataplane.clock import SYSTEM, Clock
from dataplane.errors import StoreFault
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

CREDENTIALS = ("protocol", "sasl.mechanism", "user", "password", "ca.crt", "user.crt", "user.key", "user.skip")


class KafkaStore:
    """Implements EventStore.

    bootstrap: HOST:PORT with commas between, for brokers whose config names none. config: keys that hold for every
    broker unless its own config has them. instance: a name that this process keeps over restarts and nobody else has
    (Kafka's static membership): it gets its partitions back at once; "" = others get them, after `session_s` when it
    died.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        config: dict[str, str] | None = None,
        instance: str = "",
        session_s: float = 10.0,
        clock: Clock = SYSTEM,
        registry: Registry | None = None,
    ) -> None:
        self.durability = "acks=all"
        self._bootstrap = bootstrap
        self._clock = clock
        self._meters = KafkaMeters(registry or Registry())
        self._clusters: dict[tuple[str, ...], tuple[Cluster, Appender]] = {}
        self._logs: dict[str, KafkaLog] = {}
        self._config = config or {}
        self._house = House(instance=instance, session_ms=int(session_s * 1000))
        self._opening = asyncio.Lock()

    async def start(self) -> None:
        self._cluster(self._config.get("bootstrap.servers", self._bootstrap), self._config)

    async def open(self, broker: str, settings: LogSettings) -> KafkaLog:
        async with self._opening:
            found = self._logs.get(broker)
            if found is not None:
                found.settings = settings
                return found
            settings = self._settled(settings)
            topic = topic_of(broker, settings, self._bootstrap)
            for other in self._logs.values():
                if {topic.name, topic.kept} & {other.topic.name, other.topic.kept}:
                    raise StoreFault(
                        f"{broker} and {other.topic.broker} would share a topic: {topic.name}, {topic.kept}"
                    )
            cluster, appender = self._cluster(topic.bootstrap, settings.config)
            if not topic.external:
                await cluster.make(topic.name, topic.partitions, topic.replication, topic.configs)
            await cluster.make(topic.kept, 1, topic.replication, {"cleanup.policy": "compact"})
            config = await cluster.config(topic.name)
            self._note_durability(topic, config, await cluster.replicas(topic.name))
            opened = KafkaLog(topic, settings, cluster, appender, self._clock, self._meters, self._house)
            try:
                await opened.start(int(config.get("max.message.bytes", MESSAGE_BYTES_MAX)))
            except StoreFault:
                await opened.close()
                raise
            self._logs[broker] = opened
            return opened

    def _note_durability(self, topic: Topic, config: dict[str, str], replicas: int) -> None:
        self.durability = durability_of(config, replicas)
        if int(config.get("min.insync.replicas", "1")) < 2:
            log.warning(
                "durability_relaxed broker=%s topic=%s durability=%r", topic.broker, topic.name, self.durability
            )

    async def delete(self, broker: str, settings: LogSettings | None = None) -> None:
        """An external topic stays. Raises StoreUnavailable when Kafka is away: ask again."""
        opened = self._logs.pop(broker, None)
        if opened is None:
            settings = self._settled(settings or LogSettings())
            topic = topic_of(broker, settings, self._bootstrap)
            cluster, appender = self._cluster(topic.bootstrap, settings.config)
            opened = KafkaLog(topic, settings, cluster, appender, self._clock, self._meters, self._house)
        await opened.close()
        for group in await opened.groups():
            await opened.cluster.delete_group(group)
        topics = [opened.topic.kept] if opened.topic.external else [opened.topic.name, opened.topic.kept]
        await opened.cluster.delete(topics)

    def not_ready(self) -> str:
        for _, appender in self._clusters.values():
            why = appender.not_ready()
            if why:
                return why
        return ""

    async def close(self) -> None:
        await asyncio.gather(*(opened.close(leave=False) for opened in self._logs.values()))
        self._logs.clear()
        for cluster, appender in self._clusters.values():
            await appender.close()
            await cluster.close()
        self._clusters.clear()

    def _settled(self, settings: LogSettings) -> LogSettings:
        """With what holds for every broker."""
        return msgspec.structs.replace(settings, config=self._config | settings.config)

    def _cluster(self, bootstrap: str, config: dict[str, str]) -> tuple[Cluster, Appender]:
        key = (bootstrap, *(config.get(name, "") for name in CREDENTIALS))
        found = self._clusters.get(key)
        if found is None:
            cluster = Cluster(bootstrap, config)
            appender = Appender(cluster)
            appender.start()
            found = self._clusters[key] = cluster, appender
        return found
