"""BR-08, and issue 3 point 4: Kafka stalls, is away, comes back: 503 at once, nothing accepted is lost, nobody helps."""

import asyncio

import pytest

from broker.store.kafka import append as appending
from dataplane.errors import StoreFault, StoreUnavailable
from tests.integration.broker.kafka.conftest import Kafka, Trigger, append, record, until
from tests.servers.kafka.server import Server


async def offered(log: object, count: int) -> tuple[list[str], list[StoreFault]]:
    """One event each 5 ms whatever becomes of it: (ids accepted, faults)."""
    accepted: list[str] = []
    faults: list[StoreFault] = []
    for i in range(count):
        id = f"{count}-{i}"
        log.append([record(id)], lambda fault, id=id: faults.append(fault) if fault else accepted.append(id))
        await asyncio.sleep(0.005)
    return accepted, faults


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_while_kafka_is_away_appends_fail_and_afterwards_everything_goes_on(
    own: Kafka, server: Server, monkeypatch, how: str
) -> None:
    monkeypatch.setattr(appending, "AWAY_S", 1.0)
    log = await own.open()
    store = own.stores[0]
    trigger = await Trigger().on(log)
    before, _ = await offered(log, 100)
    await until(lambda: len(before) == 100)
    (server.kill if how == "killed" else server.freeze)()
    during, refused = await offered(log, 600)
    assert store.not_ready()
    assert refused, "after a second without an answer"
    assert {type(fault) for fault in refused} == {StoreUnavailable}
    assert {(fault.status, fault.retry_after_s) for fault in refused} == {(503, 1)}
    assert log._appender.waiting_bytes < 1_000_000
    (server.start if how == "killed" else server.thaw)()
    await until(lambda: not store.not_ready())
    after, _ = await offered(log, 101)
    await until(lambda: len(after) == 101)
    await until(lambda: set(trigger.ids) >= {*before, *during, *after})
    await until(lambda: trigger.subscription.lag().waiting == 0)


async def test_a_store_that_starts_without_kafka_serves_when_it_comes(own: Kafka, server: Server, monkeypatch) -> None:
    monkeypatch.setattr(appending, "AWAY_S", 0.5)
    server.kill()
    store = own.store()
    await store.start()
    await until(store.not_ready)
    with pytest.raises(StoreUnavailable):
        await own.open(store=store)
    server.start()
    log = await own.open(store=store)
    await append(log, record("a"))
    assert store.not_ready() == ""


async def test_closing_without_kafka_does_not_hang_and_tells_everybody(own: Kafka, server: Server) -> None:
    log = await own.open()
    trigger = await Trigger().on(log)
    await append(log, record("a"))
    await trigger.until(1)
    server.kill()
    told: list[StoreFault | None] = []
    for i in range(10):
        log.append([record(f"e{i}")], told.append)
    async with asyncio.timeout(20):
        await own.stores.pop().close()
    assert len(told) == 10
    assert all(told)
