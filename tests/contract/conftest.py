"""Each test of an event store runs once per store."""

import pytest

from broker.store.contract import EventLog, EventStore, LogSettings
from tests.contract.eventstores import BROKER, KITS, Kit, prepared


@pytest.fixture(params=KITS, ids=lambda kit: kit.__name__.lower())
async def kit(request, tmp_path):
    async with prepared(request.param, tmp_path) as kit:
        yield kit


@pytest.fixture
async def store(kit: Kit) -> EventStore:
    return await kit.start()


@pytest.fixture
async def log(store: EventStore) -> EventLog:
    return await store.open(BROKER, LogSettings())
