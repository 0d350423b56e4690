"""A broker on a real Redis: the one that tests share, and one to break."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.broker.redis.house import House
from tests.redisserver import RedisServer, required, shared


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """On the server that tests share: it stays up."""
    house = House(shared())
    yield house
    await house.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to break."""
    required()
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.kill()


@pytest.fixture
async def fragile(server: RedisServer) -> AsyncIterator[House]:
    house = House(server)
    yield house
    server.thaw() if server.process else None
    await house.close()
