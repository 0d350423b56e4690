"""Issue "Eventing core", point 3: the broker is killed with -9 twenty times under load, and no accepted event is lost.

Duplicates stay below 1 %, and below 0.1 % after a graceful restart. A store that keeps nothing makes the same harness fail.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.eventing import stores
from tests.e2e.eventing.conftest import BrokerProcess
from tests.eventload import History, Producer, Subscriber

KILLS = 20
RATE = 2000.0
QUIET_S = 30.0

Make = Callable[..., Awaitable[BrokerProcess]]


def snapshot(store: str, subscriber: str, namespace: str) -> str:
    return f"""
brokers:
  {namespace}/orders: {{store: {store}}}
triggers:
  {namespace}/all:
    broker: orders
    subscriber: {{url: "{subscriber}/all"}}
    delivery: {{retry: 10, delayS: 0.05}}
  {namespace}/typed:
    broker: orders
    subscriber: {{url: "{subscriber}/typed"}}
    filters: [{{exact: {{type: dev.example.order}}}}]
    delivery: {{retry: 10, delayS: 0.05}}
"""


async def settled(history: History, *, within_s: float) -> None:
    """Until every acknowledged event has arrived everywhere, or nothing has moved for `within_s`."""
    quiet, before = 0.0, -1
    while quiet < within_s and any(history.missing(name) for name in ("all", "typed")):
        now = sum(got.total() for got in history.got.values())
        quiet, before = (0.0, now) if now != before else (quiet + 0.25, before)
        await asyncio.sleep(0.25)
    await asyncio.sleep(0.5)  # late duplicates count too


async def loaded(history: History, seconds: float) -> None:
    """So long under load, or longer where the machine is too busy for nearly as many events: duplicates are counted
    against what is acknowledged between two kills."""
    enough = len(history.acknowledged) + seconds * RATE * 0.8
    await asyncio.sleep(seconds)
    while len(history.acknowledged) < enough:
        await asyncio.sleep(0.01)


async def run(make: Make, tmp_path: Path, store: str, *arguments: str, kills: int, graceful: bool = False) -> History:
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    namespace = f"lost-{uuid.uuid4().hex[:8]}"  # a server that is shared still has what earlier tests left there
    broker = await make(snapshot(store, subscriber.address, namespace), *arguments)
    producer = Producer(history, broker.port, f"/{namespace}/orders", rate=RATE)
    chance = random.Random(20)
    for number in range(kills):
        await loaded(history, chance.uniform(1, 5))
        history.note("restart" if graceful else "kill", number=number, acknowledged=len(history.acknowledged))
        if graceful:
            assert await broker.stop() == 0
        else:
            broker.kill()
        await broker.start()
    await asyncio.sleep(0.5)
    await producer.stop()
    await settled(history, within_s=QUIET_S)
    await subscriber.stop()
    duplicates = {name: history.duplicates(name) for name in ("all", "typed")}
    history.note("end", acknowledged=len(history.acknowledged), refused=dict(history.refused), duplicates=duplicates)
    history.close()
    return history


def lost(history: History) -> dict[str, int]:
    return {name: count for name in ("all", "typed") if (count := len(history.missing(name)))}


STORES = ["sqlite", "redis", "kafka"]


@pytest.fixture
def arguments(store: str, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """What the broker must be told to find the store; the server behind it runs, with its strictest durability."""
    with stores.shared(store, tmp_path) as found:
        yield found


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize("store", STORES)
async def test_no_accepted_event_is_lost_when_the_broker_is_killed_twenty_times(
    broker_process: Make, tmp_path: Path, store: str, arguments: tuple[str, ...]
) -> None:
    history = await run(broker_process, tmp_path, store, *arguments, kills=KILLS)
    assert len(history.acknowledged) > KILLS * 200, "the harness must have put it under load"
    assert lost(history) == {}
    for name in ("all", "typed"):
        assert not history.never_sent(name)
        assert history.duplicates(name) < len(history.acknowledged) * 0.01


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", STORES)
async def test_a_graceful_restart_repeats_next_to_nothing(
    broker_process: Make, tmp_path: Path, store: str, arguments: tuple[str, ...]
) -> None:
    history = await run(broker_process, tmp_path, store, *arguments, kills=3, graceful=True)
    assert lost(history) == {}
    for name in ("all", "typed"):
        assert history.duplicates(name) < len(history.acknowledged) * 0.001


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_the_harness_sees_the_loss_of_a_store_that_keeps_nothing(broker_process: Make, tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    accepted = subscriber.answer
    subscriber.answer = lambda head, body: b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n"
    broker = await broker_process(snapshot("memory", subscriber.address, "default"))
    producer = Producer(history, broker.port, "/default/orders", rate=500)
    await asyncio.sleep(1)
    history.got.clear()  # a 503 is no delivery
    broker.kill()
    subscriber.answer = accepted
    await broker.start()
    await asyncio.sleep(0.5)
    await producer.stop()
    await settled(history, within_s=2)
    await subscriber.stop()
    history.close()
    assert len(history.acknowledged) > 100
    assert lost(history)
