"""BR-02: killed before it was acknowledged, an event is there as a whole or not at all, and sending it again is one event."""

import os

from broker.store.contract import LogSettings
from tests.eventstore import EARLIEST, append, record, until

WINDOW = LogSettings(dedup_window_s=600)


async def test_BR_02_what_was_under_way_is_whole_or_absent_and_once_after_it_was_sent_again(
    make_store, tmp_path
) -> None:
    folder = tmp_path / "events"
    for kill in range(6):
        store = await make_store(folder)
        log = await store.open("default/default", WINDOW)
        told: list[object] = []
        for i in range(40):
            log.append(
                [record(f"{kill}-{i}-{j}", data=f"{kill}-{i}-{j}".encode() * 100) for j in range(3)], told.append
            )
        if kill % 2:
            await until(lambda: told)
        for i in range(40, 80):
            log.append(
                [record(f"{kill}-{i}-{j}", data=f"{kill}-{i}-{j}".encode() * 100) for j in range(3)], told.append
            )
        await log.kill()
        os.close(store._lock)
        store._lock = None
        store._logs.clear()

        store = await make_store(folder)
        log = await store.open("default/default", WINDOW)
        there = {one.record.event.id: one.record for one in await log.read(EARLIEST, limit=10**6)}
        for i in range(80):
            some = [f"{kill}-{i}-{j}" in there for j in range(3)]
            assert all(some) or not any(some), "a batch is there as a whole or not at all"
        for i in range(80):  # the producer has had no answer and sends again
            await append(log, *[record(f"{kill}-{i}-{j}", data=f"{kill}-{i}-{j}".encode() * 100) for j in range(3)])
        ids = [one.record.event.id for one in await log.read(EARLIEST, limit=10**6)]
        assert len(ids) == len(set(ids)) == (kill + 1) * 240
        assert all(one.event.data == id.encode() * 100 for id, one in there.items())
        await store.close()
