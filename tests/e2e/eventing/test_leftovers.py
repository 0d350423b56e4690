"""What a trigger leaves that is taken away while nobody may conclude that it was deleted can be seen and forgotten."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.e2e.eventing.conftest import BrokerProcess, command

SNAPSHOT = """
brokers:
  left/main: {}
triggers:
  left/stays: {uid: uid-1, broker: main, subscriber: {url: "http://127.0.0.1:9/"}}
"""
GOES = """  left/goes: {uid: uid-2, broker: main, subscriber: {url: "http://127.0.0.1:9/"}, paused: true}
"""


async def test_a_trigger_that_left_the_snapshot_file_is_listed_and_forgotten(
    broker_process: Callable[..., Awaitable[BrokerProcess]],
) -> None:
    process = await broker_process(SNAPSHOT + GOES)
    of = ("broker/main", "-n", "left")
    await command(process, "send", *of, "--type", "a")
    assert await command(process, "events", "forget", *of) == "nothing is left\n"
    assert await process.stop() == 0
    process.snapshot.write_text(SNAPSHOT)
    await process.start()
    (_, row) = (await command(process, "events", "forget", *of)).splitlines()
    assert row.split() == ["uid-2", "left/goes", "1", "0"], "it holds the first event, which nobody else needs"
    refused = await command(process, "events", "forget", *of, "uid-1", fails=True)
    assert "delete the Trigger" in refused
    assert await command(process, "events", "forget", *of, "uid-2") == "uid-2 forgotten\n"
    async with asyncio.timeout(60):
        while await command(process, "events", "forget", *of) != "nothing is left\n":
            await asyncio.sleep(0.1)


async def test_events_of_a_broker_that_left_the_snapshot_file_are_found_by_the_doctor(
    broker_process: Callable[..., Awaitable[BrokerProcess]],
) -> None:
    process = await broker_process(SNAPSHOT)
    assert "brokers that take events: 1" in await command(process, "doctor")
    assert await process.stop() == 0
    process.snapshot.write_text("brokers:\n  left/other: {}\n")
    await process.start()
    told = await command(process, "doctor")
    assert "a broker, http=" in told
    assert "events that no Broker has: left/main" in told


async def test_a_broker_of_its_own_that_is_asked_for_resources_says_what_it_has(
    broker_process: Callable[..., Awaitable[BrokerProcess]],
) -> None:
    process = await broker_process(SNAPSHOT)
    assert "requested resource: it is a broker of its own" in await command(process, "get", "trigger", fails=True)
    assert "a broker, http=" in await command(process, "doctor")
