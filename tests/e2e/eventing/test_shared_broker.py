"""Several broker processes share a broker on Redis and Kafka; when one dies the others take over what it had."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.eventing import stores
from tests.e2e.eventing.conftest import BrokerProcess, command
from tests.eventload import History, Producer, Subscriber

Make = Callable[..., Awaitable[BrokerProcess]]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["redis", "kafka"])
async def test_triggers_move_when_one_of_two_processes_dies(broker_process: Make, tmp_path: Path, store: str) -> None:
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    namespace = f"two-{uuid.uuid4().hex[:8]}"
    snapshot = f"""
brokers:
  {namespace}/orders: {{store: {store}}}
triggers:
  {namespace}/all: {{broker: orders, subscriber: {{url: "{subscriber.address}/all"}}, delivery: {{retry: 5}}}}
  {namespace}/lanes: {{broker: orders, ordered: true, subscriber: {{url: "{subscriber.address}/lanes"}}, delivery: {{retry: 5}}}}
"""
    with stores.shared(store, tmp_path) as arguments:
        first = await broker_process(snapshot, *arguments, "--set", "broker.redis_lease_s=3")
        second = await broker_process(snapshot, *arguments, "--set", "broker.redis_lease_s=3")
        producer = Producer(history, first.port, f"/{namespace}/orders", rate=300, connections=8)
        await asyncio.sleep(3)
        second.kill()
        history.note("killed", acknowledged=len(history.acknowledged))
        await asyncio.sleep(3)
        await producer.stop()
        async with asyncio.timeout(90):
            while history.missing("all") or history.missing("lanes"):
                await asyncio.sleep(0.2)
        assert await first.stop() == 0
    await subscriber.stop()
    history.close()
    assert len(history.acknowledged) > 300
    for name in ("all", "lanes"):
        assert not history.never_sent(name)


async def test_two_halves_share_what_can_be_shared_and_commands_find_both(broker_process: Make, tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    snapshot = f"""
brokers:
  halves/orders: {{store: redis}}
  halves/own: {{store: sqlite}}
triggers:
  halves/all: {{broker: orders, subscriber: {{url: "{subscriber.address}/all"}}}}
  halves/dead: {{broker: orders, subscriber: {{url: "http://127.0.0.1:9/"}}}}
"""
    with stores.shared("redis", tmp_path) as arguments:
        more = (*arguments, "--set", "broker.store=redis")
        dispatcher = await broker_process(snapshot, *more, "--role", "dispatcher")
        ingress = await broker_process(snapshot, *more, "--role", "ingress")
        sent = await command(ingress, "send", "broker/orders", "-n", "halves", "--type", "a", "--id", "1")
        assert sent == "accepted id=1 type=a\n"
        refused = await command(ingress, "send", "broker/own", "-n", "halves", "--type", "a", fails=True)
        assert "no_broker" in refused, "no dispatcher would ever see what this half kept for itself"
        async with asyncio.timeout(30):
            while "1  " not in await command(dispatcher, "events", "parked", "trigger/dead", "-n", "halves"):
                await asyncio.sleep(0.2)
        assert "halves/own" not in await command(dispatcher, "events", "brokers")
        assert await ingress.stop() == 0
        assert await dispatcher.stop() == 0
    await subscriber.stop()
    history.close()
