"""Issue 3 point 3 at the store: every event that was acknowledged is delivered, whoever is killed and whenever.

The long run, 20 kills at 2 000 events/s, is DATAPLANE_TEST_KILLS=20 with this file.
"""

import asyncio
import collections
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from broker.store.kafka.log import KafkaLog
from tests.integration.broker.kafka.conftest import Kafka, record, until
from tests.servers.kafka.server import Server

KILLS = int(os.environ.get("DATAPLANE_TEST_KILLS", "3"))
EVENTS_PER_S = 2000
WORKER = Path(__file__).parent / "worker.py"
ROOT = Path(__file__).parents[4]


class Producer:
    """Appends numbered events at a steady rate, ten at a time."""

    def __init__(self, log: KafkaLog) -> None:
        self.log = log
        self.sent = 0
        self.accepted: set[str] = set()
        self.refused = 0
        self.open = 0

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        start, first = loop.time(), self.sent
        while (passed := loop.time() - start) < seconds:
            while self.sent - first < passed * EVENTS_PER_S:
                self._append()
            await asyncio.sleep(0.005)

    def _append(self) -> None:
        ids = [str(self.sent + i) for i in range(10)]
        self.sent += 10
        self.open += 1

        def done(fault: object) -> None:
            self.open -= 1
            if fault is None:
                self.accepted.update(ids)
            else:
                self.refused += len(ids)

        self.log.append([record(id, data=bytes(512)) for id in ids], done)


class Worker:
    def __init__(self, kafka: Kafka, file: Path, *more: str) -> None:
        self.command = [
            sys.executable,
            str(WORKER),
            kafka.bootstrap,
            json.dumps(kafka.config),
            "worker-0",
            str(file),
            *more,
        ]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            self.command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    async def ready(self) -> None:
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line == b"ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def counted(file: Path) -> collections.Counter:
    return collections.Counter(file.read_text().split()) if file.exists() else collections.Counter()


def judge(accepted: set[str], delivered: collections.Counter) -> tuple[list[str], int]:
    """(accepted and never delivered, deliveries beyond the first of each)."""
    return sorted(accepted - delivered.keys(), key=int), sum(count - 1 for count in delivered.values())


async def everything(accepted: set[str], file: Path, wait_s: float = 60.0) -> None:
    try:
        await until(lambda: accepted <= counted(file).keys(), wait_s)
    except TimeoutError:
        pass  # judge says what is missing


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * KILLS)
async def test_nothing_is_lost_when_the_consumer_is_killed_and_kafka_too(
    own: Kafka, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "delivered"
    log = await own.open(partitions=10)
    worker, producer = Worker(own, file), Producer(log)
    worker.start()
    await worker.ready()
    dice = random.Random(7)
    for _ in range(KILLS):
        await producer.run(1.0 + 2 * dice.random())
        worker.kill()
        worker.start()
        await producer.run(dice.random())
        await worker.ready()
    await everything(producer.accepted, file)
    lost, repeated = judge(producer.accepted, counted(file))
    print(f"accepted={len(producer.accepted)} refused={producer.refused} kills={KILLS} repeated={repeated}")
    assert lost == []
    assert producer.refused == 0
    assert repeated <= KILLS * 400, "what one kill repeats is what was in flight and one commit interval"

    before = len(producer.accepted)
    server.kill()
    await producer.run(1.0)
    server.start()
    await producer.run(2.0)
    await until(lambda: not producer.open)
    await everything(producer.accepted, file)
    lost, _ = judge(producer.accepted, counted(file))
    worker.kill()
    assert lost == []
    assert len(producer.accepted) > before


async def test_a_graceful_restart_repeats_nothing(kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "delivered"
    log = await kafka.open(partitions=3)
    worker, producer = Worker(kafka, file), Producer(log)
    worker.start()
    await worker.ready()
    for _ in range(2):
        await producer.run(1.0)
        await asyncio.to_thread(worker.stop)
        worker.start()
        await worker.ready()
    await everything(producer.accepted, file)
    await asyncio.to_thread(worker.stop)
    lost, repeated = judge(producer.accepted, counted(file))
    assert lost == []
    assert repeated <= len(producer.accepted) / 1000


async def test_a_store_that_forgets_is_found_out(kafka: Kafka, tmp_path: Path) -> None:
    """The harness itself: it must see a loss."""
    file = tmp_path / "delivered"
    log = await kafka.open(partitions=3)
    worker, producer = Worker(kafka, file, "broken"), Producer(log)
    worker.start()
    await worker.ready()
    await producer.run(0.5)
    await everything(producer.accepted, file, wait_s=5.0)
    await asyncio.to_thread(worker.stop)
    lost, _ = judge(producer.accepted, counted(file))
    assert lost
    assert all(int(id) % 100 == 7 for id in lost)
