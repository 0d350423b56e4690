"""Everything that was acknowledged is delivered, however often Redis and the process that delivers are killed.

Events are counted by id. Nobody sends an event twice here, so what is delivered twice was delivered again by us: after
the death of a process that held it, and never more than it could hold.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from dataplane.errors import StoreFault
from tests.eventstore import append, record, until
from tests.integration.broker.redis.house import House
from tests.redisserver import RedisServer, required

SCRIPT = Path(__file__).with_name("delivering.py")
ROOM = 50
RATE = int(os.environ.get("NOTHING_LOST_RATE", "500"))  # events a second
KILLS = int(os.environ.get("NOTHING_LOST_KILLS", "12"))  # every third is Redis
BETWEEN_S = (0.3, 1.0)


class Run:
    """One server, one producer that goes on whatever happens, one process that delivers."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.house = House(server)
        self.file = folder / "delivered"
        self.file.touch()
        self.acknowledged: set[str] = set()
        self.refused = 0
        self.process: asyncio.subprocess.Process | None = None
        self.log = None

    async def start(self, *how: str) -> None:
        self.log = await self.house.log(stalled_s=2.0)
        await self.deliver(*how)

    async def deliver(self, *how: str) -> asyncio.subprocess.Process:
        command = (sys.executable, str(SCRIPT), self.server.url, str(self.file), str(ROOM), *how)
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        return self.process

    async def kill_delivering(self, process: asyncio.subprocess.Process | None = None) -> None:
        process = process or self.process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await process.communicate()

    async def produce(self) -> None:
        for number in range(10**9):
            asyncio.get_running_loop().call_soon(self._send, f"e{number}")
            await asyncio.sleep(1 / RATE)

    def _send(self, id_: str) -> None:
        def done(fault: StoreFault | None) -> None:
            if fault is None:
                self.acknowledged.add(id_)
            else:
                self.refused += 1

        self.log.append([record(id_)], done)

    def delivered(self) -> Counter[str]:
        return Counter(self.file.read_text().split())

    def missing(self) -> set[str]:
        return self.acknowledged - self.delivered().keys()

    async def close(self) -> None:
        await self.kill_delivering()
        await self.house.close()


@pytest.mark.slow
async def test_what_was_acknowledged_is_delivered_whoever_is_killed_and_little_of_it_twice(
    server: RedisServer, tmp_path: Path
) -> None:
    dice = random.Random(os.environ.get("NOTHING_LOST_SEED", "1"))
    run = Run(server, tmp_path)
    await run.start()
    producing = asyncio.create_task(run.produce())
    deaths = 0
    for kill in range(KILLS):
        await asyncio.sleep(dice.uniform(*BETWEEN_S))
        if kill % 3 == 2:
            server.kill()
            await asyncio.sleep(dice.uniform(0, 0.3))
            await asyncio.to_thread(server.start)
        else:
            deaths += 1
            await run.kill_delivering()
            await run.deliver()
    await asyncio.sleep(1)
    producing.cancel()
    await until(lambda: not run.missing())
    await asyncio.sleep(0.5)
    delivered = run.delivered()
    duplicates = delivered.total() - len(delivered)
    print(
        f"\nacknowledged {len(run.acknowledged)}, refused or unclear {run.refused}, delivered {len(delivered)},"
        f" twice {duplicates}, deaths {deaths}, kills of Redis {KILLS - deaths}"
    )
    await run.close()
    assert len(run.acknowledged) > RATE
    assert duplicates <= deaths * ROOM


@pytest.mark.slow
async def test_order_holds_while_a_trigger_moves_between_processes_that_die(
    server: RedisServer, tmp_path: Path
) -> None:
    run = Run(server, tmp_path)
    await run.start("ordered")
    living = [run.process, await run.deliver("ordered")]
    producing = asyncio.create_task(run.produce())
    for kill in range(6):
        await asyncio.sleep(1)
        if kill == 3:
            server.kill()
            await asyncio.to_thread(server.start)
        await run.kill_delivering(living[kill % 2])
        living[kill % 2] = await run.deliver("ordered")
    producing.cancel()
    await until(lambda: not run.missing())
    await run.kill_delivering(living[0])
    await run.kill_delivering(living[1])
    numbers = [int(id_[1:]) for id_ in run.file.read_text().split()]
    first = list(dict.fromkeys(numbers))
    assert first == sorted(first), "nothing is delivered for the first time after something younger"
    for before, after in itertools.pairwise(numbers):
        assert after > before or before - after <= ROOM, "what comes again is what the dead one held"
    print(f"\nordered: acknowledged {len(run.acknowledged)}, twice {len(numbers) - len(first)}")
    await run.house.close()


@pytest.mark.slow
async def test_a_server_that_forgets_is_found_out(tmp_path: Path) -> None:
    """The run above would notice."""
    required()
    server = RedisServer(tmp_path / "redis", "--appendonly", "no").start()
    run = Run(server, tmp_path)
    try:
        await run.start()
        await run.kill_delivering()
        for number in range(20):
            await append(run.log, record(f"e{number}"))
            run.acknowledged.add(f"e{number}")
        server.kill()
        await asyncio.to_thread(server.start)
        await run.deliver()
        assert run.process is not None
        assert run.process.stdout is not None
        assert await run.process.stdout.readline() == b"delivers\n"
        await asyncio.sleep(0.5)
        assert len(run.missing()) == 20
    finally:
        await run.close()
        server.kill()
