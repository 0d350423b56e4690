"""The event stores that are held to broker/store/contract.py: how to make each, and what it cannot do.

A store is added by one line in KITS: a class that makes stores over the same data.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from broker.store.contract import EventLog, EventStore, Record
from broker.store.kafka.log import KafkaLog
from broker.store.kafka.store import KafkaStore
from broker.store.memory import MemoryStore
from broker.store.redis.store import RedisStore
from broker.store.sqlite.store import SqliteStore
from dataplane.clock import Clock
from dataplane.telemetry.metrics import Registry
from dataplane.wire.cloudevents import with_attributes
from tests import redisserver
from tests.eventstore import WAIT_S, until, until_durable
from tests.servers.kafka import kill as kafkakill
from tests.servers.kafka import server as kafkaserver

BROKER = "default/default"


class Kit:
    """Makes stores of one kind over the same data. Flags say what a store cannot do; the tests that ask skip."""

    survives_restart = True  # a new store over the same data knows what was acknowledged
    letters_survive = True  # … and the letters
    schedule_survives = True  # … and what was given back with `later`, with its attempt
    atomic_reply = True  # settle_with is one commit: a crash never shows one without the other
    dedup = True
    quota = True
    retention = True  # by age and by bytes, within seconds, by the store's own clock
    wall_clock = True  # its sense of time is `clock.wall`, which tests may move
    one_order = True  # a log of one order (not of partitions)
    marks: frozenset[str] = frozenset()  # attributes that it sets on what it delivers
    quiet_s = 0.05  # after so long without anything nothing more comes

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ahead_s = 0.0
        self.clock = Clock(monotonic=time.monotonic, wall=lambda: time.time() + self.ahead_s)
        self.made: list[EventStore] = []

    async def prepare(self) -> None:
        """Make the place where the data will be, empty. Skip the test when the server is not there."""

    def make(self) -> EventStore:
        raise NotImplementedError

    async def kill(self, store: EventStore) -> None:
        """The process of this store dies now: nothing more is written, and what it held is free."""
        raise NotImplementedError

    async def clean(self) -> None:
        """After the test."""

    async def start(self) -> EventStore:
        store = self.make()
        self.made.append(store)
        await store.start()
        return store

    async def durable(self, log: EventLog) -> None:
        """Returns when every settle before this is durable, and a record `marker`."""
        await until_durable(log)

    async def restart(self, store: EventStore) -> EventStore:
        """Process death without close, and a new process."""
        self.made.remove(store)
        await self.kill(store)
        return await self.start()

    def unmarked(self, delivered: Record) -> Record:
        """What was delivered, as it went in."""
        assert self.marks <= delivered.event.attributes.keys()
        return msgspec.structs.replace(delivered, event=with_attributes(delivered.event, {}, remove=self.marks))

    def needs(self, *flags: str) -> None:
        for flag in flags:
            if not getattr(self, flag):
                pytest.skip(f"{type(self).__name__}: not {flag}")


class Memory(Kit):
    survives_restart = letters_survive = schedule_survives = False

    def make(self) -> EventStore:
        return MemoryStore(clock=self.clock)


class Sqlite(Kit):
    def make(self) -> EventStore:
        return SqliteStore(self.folder, clock=self.clock)

    async def kill(self, store: EventStore) -> None:
        """The threads end as they stand: what is in no transaction yet is gone."""
        for log in store._logs.values():
            await log.kill()
        os.close(store._lock)


class Redis(Kit):
    wall_clock = False  # ages are by the server's clock
    quiet_s = 0.3

    async def prepare(self) -> None:
        self.url = redisserver.shared().url

    def make(self) -> EventStore:
        return RedisStore(url=self.url, clock=self.clock, registry=Registry(), lease_s=1.0)

    async def kill(self, store: RedisStore) -> None:
        await store.tasks.close()


class Kafka(Kit):
    """Several partitions, of which events without a key use one: a log of one order."""

    atomic_reply = False  # the reply is appended, then its cause is settled: a crash between the two repeats the cause
    quota = False  # Kafka does not know what is settled
    retention = False  # by Kafka's own clock and whole segments, settled or not
    marks = frozenset({"knativekafkapartition", "knativekafkaoffset"})
    quiet_s = 0.3

    async def prepare(self) -> None:
        self.bootstrap = kafkaserver.required()
        run = uuid.uuid4().hex[:8]
        self.config = {
            "default.topic.partitions": "3",
            "keyless.order": "true",
            "brokers.topic.template": f"test-{run}-{{namespace}}-{{name}}",
            "brokers.dlq.topic.template": f"test-{run}-dlq-{{namespace}}-{{name}}",
            "triggers.consumergroup.template": f"test-{run}-{{broker}}-{{namespace}}-{{name}}",  # trigger default/t1 is of several
        }

    def make(self) -> EventStore:
        return KafkaStore(
            self.bootstrap, config=self.config, session_s=kafkaserver.SESSION_S, clock=self.clock, registry=Registry()
        )

    async def kill(self, store: KafkaStore) -> None:
        await kafkakill.kill(store)

    async def durable(self, log: KafkaLog) -> None:
        """Commits go their own way, beside appends: one that begins after the last settle was taken up has it."""
        await until_durable(log)
        for subscription in log._subscriptions.values():
            partitions = subscription.partitions.values()
            await until(lambda partitions=partitions: not any(one.dirty for one in partitions))
            for one in partitions:
                one.dirty = True
            async with asyncio.timeout(WAIT_S):
                while not await subscription.membership.commit(moved=False):
                    await asyncio.sleep(0.05)

    async def clean(self) -> None:
        store = self.make()
        for broker in (BROKER, "a/x", "b/x"):
            await store.delete(broker)
        await store.close()


KITS = [Memory, Sqlite, Redis, Kafka]


@asynccontextmanager
async def prepared(kind: type[Kit], folder: Path) -> AsyncIterator[Kit]:
    """With an empty place for its data; afterwards its stores are closed and the data is gone."""
    kit = kind(folder)
    await kit.prepare()
    yield kit
    for store in kit.made:
        await store.close()
    await kit.clean()
