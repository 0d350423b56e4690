"""Issue "Eventing core", point 4: Redis or Kafka does not answer for a while. Producers are told so, nothing is lost, it resumes."""

import asyncio
import http.client
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.eventing import stores
from tests.e2e.eventing.conftest import BrokerProcess
from tests.eventload import History, Producer, Subscriber

AWAY_S = 6.0
Make = Callable[..., Awaitable[BrokerProcess]]


def post(port: int, path: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"ce-specversion": "1.0", "ce-id": "probe", "ce-source": "/probe", "ce-type": "dev.example.order"}
    connection.request("POST", path, b"{}", headers | {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["redis", "kafka"])
async def test_a_server_that_is_away_costs_503_and_no_accepted_event(
    broker_process: Make, tmp_path: Path, store: str
) -> None:
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    namespace = f"away-{uuid.uuid4().hex[:8]}"
    snapshot = f"""
brokers:
  {namespace}/orders: {{store: {store}}}
triggers:
  {namespace}/all: {{broker: orders, subscriber: {{url: "{subscriber.address}/all"}}, delivery: {{retry: 5}}}}
"""
    path = f"/{namespace}/orders"
    with stores.own(store, tmp_path) as server:
        broker = await broker_process(snapshot, *server.arguments, "--set", "broker.append_timeout_s=2")
        producer = Producer(history, broker.port, path, rate=300, connections=8)
        await asyncio.sleep(2)
        server.away()
        await asyncio.sleep(AWAY_S / 2)
        status, headers = await asyncio.to_thread(post, broker.port, path)
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert headers["x-dp-error"] in ("store_unavailable", "append_timeout")
        assert broker.rss_bytes() < 200 * 1024 * 1024
        await asyncio.sleep(AWAY_S / 2)
        server.back()
        before = len(history.acknowledged)
        async with asyncio.timeout(60):
            while len(history.acknowledged) < before + 300:
                await asyncio.sleep(0.1)
        await producer.stop()
        async with asyncio.timeout(60):
            while history.missing("all"):
                await asyncio.sleep(0.2)
        assert await broker.stop() == 0
    await subscriber.stop()
    history.close()
    assert set(history.refused) <= {503}
    assert history.never_sent("all") <= {"probe"}, "what got no 202 may be there all the same"
