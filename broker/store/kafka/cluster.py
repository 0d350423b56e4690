"""The connection to one Kafka cluster: how to reach it, its producer, and the questions one asks an administrator.

Path: store.py, append.py, read.py, kept.py → [cluster] → aiokafka.

One cluster per (bootstrap servers, credentials). Everything here may wait for a server; nothing here is per event.

Source: spec/eventing.md §22.4, §28.1, §28.2, §28.6, §28.9.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NonEmptyGroup, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import OffsetAndMetadata

from broker.store.kafka.commit import Commit
from broker.store.kafka.security import security_of
from dataplane.errors import StoreFault, StoreUnavailable

T = TypeVar("T")

ASK_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 2.0
RETRY_S = 0.1
REQUEST_TIMEOUT_MS = 30_000  # spec §28.2
BATCH_BYTES_MAX = 900 * 1024  # of one request per partition: below Kafka's default for message.max.bytes
MESSAGE_BYTES_MAX = 1024 * 1024 + 12  # Kafka's default for max.message.bytes
NO_GROUP_CODES = (0, 16, 69)  # none, not coordinator (it moved: the group is found there next time), group id not found

log = logging.getLogger(__name__)
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each retry; what matters is logged here, once


class Cluster:
    def __init__(self, bootstrap: str, config: Mapping[str, str]) -> None:
        self.bootstrap = bootstrap
        self.security = security_of(config)
        self._admin: AIOKafkaAdminClient | None = None
        self._asking = asyncio.Lock()

    def producer(self) -> AIOKafkaProducer:
        """Not started. Idempotent, acks=all; batches are made by whoever uses it."""
        return AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=64 * 1024 * 1024,  # one request holds a batch of every partition
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            linger_ms=0,
            metadata_max_age_ms=60_000,
            **self.security,
        )

    def consumer(self, *topics: str, **more: Any) -> AIOKafkaConsumer:
        """Not started. What is committed is said explicitly, what was aborted is not read, nothing is skipped."""
        settings: dict[str, Any] = {
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": 500,
            "max_partition_fetch_bytes": 1024 * 1024,
            "metadata_max_age_ms": 60_000,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
        }
        return AIOKafkaConsumer(*topics, bootstrap_servers=self.bootstrap, **(settings | self.security | more))

    async def ask(self, question: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        """One question to Kafka, within ASK_TIMEOUT_S. Raises StoreUnavailable."""
        async with self._asking:
            try:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    if self._admin is None:
                        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, **self.security)
                        try:
                            await admin.start()
                        except BaseException:
                            await admin.close()
                            raise
                        self._admin = admin
                    while True:
                        try:
                            return await question(self._admin)
                        except KafkaError as error:
                            if not error.retriable:
                                raise
                        except AttributeError:  # aiokafka does not expect a cluster that has no controller yet
                            log.debug("no_controller bootstrap=%s", self.bootstrap)
                        await asyncio.sleep(RETRY_S)
            except (KafkaError, TimeoutError, OSError) as error:
                admin_, self._admin = self._admin, None
                if admin_ is not None:
                    await admin_.close()
                raise StoreUnavailable(f"Kafka at {self.bootstrap}: {error or type(error).__name__}") from error

    async def make(self, topic: str, partitions: int, replication: int, configs: Mapping[str, str]) -> None:
        """Create it unless it is there; one with fewer partitions grows. Raises StoreFault."""

        async def create(admin: AIOKafkaAdminClient) -> str:
            new = NewTopic(topic, partitions, replication, topic_configs=dict(configs))
            answer = await admin.create_topics([new], timeout_ms=int(ASK_TIMEOUT_S * 1000))
            code, message = answer.topic_errors[0][1:3]
            return "" if code in (0, TopicAlreadyExistsError.errno) else f"{for_code(code).__name__}: {message or ''}"

        refused = await self.ask(create)
        if refused:
            raise StoreFault(f"topic {topic} cannot be created: {refused}")
        for pause_s in (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0):
            await asyncio.sleep(pause_s)
            there = len(await self.partitions(topic))
            if there:
                break
        else:
            raise StoreUnavailable(f"topic {topic} was created and is not seen yet")
        if there < partitions:

            async def grow(admin: AIOKafkaAdminClient) -> None:
                await admin.create_partitions({topic: NewPartitions(partitions)})

            await self.ask(grow)

    async def partitions(self, topic: str) -> list[int]:
        """Empty when there is no such topic."""

        async def describe(admin: AIOKafkaAdminClient) -> list[int]:
            found = await admin.describe_topics([topic])
            return sorted(one["partition"] for one in found[0]["partitions"]) if not found[0]["error_code"] else []

        return await self.ask(describe)

    async def config(self, topic: str) -> dict[str, str]:
        async def describe(admin: AIOKafkaAdminClient) -> dict[str, str]:
            answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            found: dict[str, str] = {}
            for answer in answers:
                for resource in answer.resources:
                    found |= {entry[0]: entry[1] for entry in resource[4]}
            return found

        return await self.ask(describe)

    async def replicas(self, topic: str) -> int:
        """Of the partition that has the fewest."""

        async def describe(admin: AIOKafkaAdminClient) -> int:
            found = await admin.describe_topics([topic])
            return min((len(one["replicas"]) for one in found[0]["partitions"]), default=0)

        return await self.ask(describe)

    async def delete(self, topics: Sequence[str]) -> None:
        async def delete(admin: AIOKafkaAdminClient) -> list[tuple[str, int]]:
            answer = await admin.delete_topics(list(topics), timeout_ms=int(ASK_TIMEOUT_S * 1000))
            return [(one[0], one[1]) for one in answer.topic_error_codes]

        for topic, code in await self.ask(delete):
            if code not in (0, UnknownTopicOrPartitionError.errno):
                raise StoreFault(f"topic {topic} cannot be deleted: {for_code(code).__name__}")

    async def committed(self, group: str, topic: str) -> dict[int, Commit]:
        """By partition; those without a commit are missing."""

        async def fetch(admin: AIOKafkaAdminClient) -> dict[int, Commit]:
            found = await admin.list_consumer_group_offsets(group)
            return {
                tp.partition: Commit(at.offset, at.metadata or "")
                for tp, at in found.items()
                if tp.topic == topic and at.offset >= 0
            }

        return await self.ask(fetch)

    async def groups(self) -> list[str]:
        async def fetch(admin: AIOKafkaAdminClient) -> list[str]:
            return [found[0] for found in await admin.list_consumer_groups()]

        return await self.ask(fetch)

    async def topics_of(self, group: str) -> set[str]:
        """What the group has commits for."""

        async def fetch(admin: AIOKafkaAdminClient) -> set[str]:
            return {tp.topic for tp in await admin.list_consumer_group_offsets(group)}

        return await self.ask(fetch)

    async def delete_group(self, group: str) -> None:
        """It must have no member any more; one that is missing is no error. Raises StoreFault."""

        async def delete(admin: AIOKafkaAdminClient) -> int:
            coordinator = await admin.find_coordinator(group)
            answer = await admin._send_request(DeleteGroupsRequest([group]), coordinator)  # aiokafka has no call for it
            return int(answer.results[0][1])

        for pause_s in (0.1, 0.5, 2.0, 0.0):
            code = await self.ask(delete)
            if code != NonEmptyGroup.errno or not pause_s:
                break
            await asyncio.sleep(pause_s)  # another process is about to leave
        if code not in NO_GROUP_CODES:
            raise StoreFault(f"consumer group {group} cannot be deleted: {for_code(code).__name__}")

    async def commit(self, group: str, topic: str, commits: Mapping[int, Commit]) -> None:
        """For a group without members. Raises StoreFault."""
        consumer = self.consumer(group_id=group)
        tps = {TopicPartition(topic, number): commit for number, commit in commits.items()}
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await consumer.start()
                consumer.assign(list(tps))
                await consumer.commit({tp: OffsetAndMetadata(at.offset, at.metadata) for tp, at in tps.items()})
        except (KafkaError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"no offsets for {group} at {self.bootstrap}: {error!r}") from error
        finally:
            await stop(consumer)

    async def edges(
        self, topic: str, partitions: Sequence[int], time_s: float | None = None
    ) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
        """(begins, ends, the first at or after `time_s`) by partition. Raises StoreUnavailable."""
        consumer = self.consumer()
        tps = [TopicPartition(topic, number) for number in partitions]
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await consumer.start()
                begins = await consumer.beginning_offsets(tps)
                ends = await consumer.end_offsets(tps)
                at = dict(ends)
                if time_s is not None:
                    found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, int(time_s * 1000))))
                    at |= {tp: one.offset for tp, one in found.items() if one is not None}
        except (KafkaError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"no offsets of {topic} at {self.bootstrap}: {error!r}") from error
        finally:
            await stop(consumer)
        plain = [{tp.partition: offset for tp, offset in some.items()} for some in (begins, ends, at)]
        return plain[0], plain[1], plain[2]

    async def close(self) -> None:
        if self._admin is not None:
            await self._admin.close()
            self._admin = None


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Also of one that cannot reach its server, for which aiokafka would wait."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await consumer.stop()
    except (TimeoutError, KafkaError, OSError):
        await consumer._client.close()


def durability_of(config: Mapping[str, str], replicas: int) -> str:
    """What an ack is worth on this topic, for people."""
    in_sync = int(config.get("min.insync.replicas", "1"))
    notes = [f"acks=all, {replicas} replica{'s' * (replicas != 1)}, min.insync.replicas={in_sync}"]
    if in_sync < 2:
        notes.append("one machine may lose acknowledged events")
    if config.get("unclean.leader.election.enable") == "true":
        notes.append("unclean elections may lose acknowledged events")
    return "; ".join(notes)
