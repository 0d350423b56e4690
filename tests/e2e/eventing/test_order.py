"""Issue "Eventing core", point 7: `delivery.order: ordered` keeps the order per partition key through retries and kills."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.eventing import stores
from tests.e2e.eventing.conftest import BrokerProcess
from tests.eventload import History, Subscriber

KEYS = 8
EACH = 60
KILLS = 3

Make = Callable[..., Awaitable[BrokerProcess]]


async def send(port: int, path: str, key: int, number: int) -> None:
    """Until it is accepted: a producer that repeats keeps its own order."""
    body = b"{}"
    head = (
        f"POST {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\nce-specversion: 1.0\r\nce-id: {key}-{number}\r\n"
        f"ce-source: /order\r\nce-type: t\r\nce-partitionkey: key-{key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), 15)
            writer.close()
            if answer.startswith(b"HTTP/1.1 202"):
                return
        except (OSError, TimeoutError):
            pass
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", ["sqlite", "redis", "kafka"])
async def test_events_of_a_key_arrive_in_order_through_failures_and_kills(
    broker_process: Make, tmp_path: Path, store: str
) -> None:
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    done: dict[str, list[int]] = defaultdict(list)  # by key, what was answered with 202, in that order
    attempts: dict[str, int] = defaultdict(int)

    def answer(head: bytes, body: bytes) -> bytes:
        at = head.lower().find(b"\r\nce-id:")
        id_ = head[at + 8 :].partition(b"\r\n")[0].strip().decode()
        attempts[id_] += 1
        key, _, number = id_.partition("-")
        if int(number) % 7 == 3 and attempts[id_] < 3:
            return b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n"
        done[key].append(int(number))
        return b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"

    subscriber.answer = answer
    namespace = f"order-{uuid.uuid4().hex[:8]}"
    snapshot = f"""
brokers:
  {namespace}/orders: {{store: {store}}}
triggers:
  {namespace}/all:
    broker: orders
    ordered: true
    subscriber: {{url: "{subscriber.address}/all"}}
    delivery: {{retry: 5, delayS: 0.02, backoff: linear}}
"""
    with stores.shared(store, tmp_path) as arguments:
        broker = await broker_process(snapshot, *arguments)

        async def produce(key: int) -> None:
            for number in range(EACH):
                await send(broker.port, f"/{namespace}/orders", key, number)

        producing = [asyncio.create_task(produce(key)) for key in range(KEYS)]
        for _ in range(KILLS):
            await asyncio.sleep(0.7)
            broker.kill()
            await broker.start()
        await asyncio.gather(*producing)
        deadline = asyncio.get_running_loop().time() + 60
        while missing := {
            key: EACH - len(set(done[str(key)])) for key in range(KEYS) if len(set(done[str(key)])) < EACH
        }:
            assert asyncio.get_running_loop().time() < deadline, (
                f"by key: {missing}; the last log lines: {broker.tail()}"
            )
            await asyncio.sleep(0.1)
        assert await broker.stop() == 0
    await subscriber.stop()
    history.close()
    for key in range(KEYS):
        # A kill may repeat events that were not settled yet, from some point on; it never swaps two of them.
        furthest = -1
        for number in done[str(key)]:
            assert number <= furthest + 1, f"key {key}: {number} came before {furthest + 1}: {done[str(key)]}"
            furthest = max(furthest, number)
