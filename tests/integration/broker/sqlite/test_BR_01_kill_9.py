"""BR-01: kill -9 at any instant loses nothing that was acknowledged; little is delivered twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from broker.store.contract import LogSettings
from broker.store.sqlite.store import SqliteStore
from tests.eventstore import EARLIEST, settling, subscribe, until

WRITER = Path(__file__).with_name("writer.py")
ROOT = Path(__file__).parents[4]
KILLS = 8


def run(folder: Path, begin: int, for_s: float) -> list[tuple[str, str]]:
    """What a writer said until it was killed, `for_s` after its first word."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(folder), str(begin)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    said = os.read(process.stdout.fileno(), 65536)
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        said += os.read(process.stdout.fileno(), 65536)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read()
    process.wait()
    process.stdout.close()
    lines = said.decode().split("\n")[:-1]  # a last line without an end was not said
    return [(line[0], line[2:]) for line in lines]


async def test_BR_01_what_was_acknowledged_survives_kill_9_and_little_comes_twice(tmp_path: Path) -> None:
    chance = random.Random(1)
    acknowledged: set[str] = set()
    delivered: Counter[str] = Counter()
    for kill in range(KILLS):
        said = run(tmp_path, kill * 1_000_000, 0.1 + chance.random())
        assert not [text for what, text in said if what == "!"]
        acknowledged.update(id for what, id in said if what == "a")
        delivered.update(id for what, id in said if what == "d")
    assert len(acknowledged) > 500, "the writer must have worked"

    store = SqliteStore(tmp_path)
    await store.start()
    log = await store.open("default/default", LogSettings())
    held = {one.record.event.id: one.record for one in await log.read(EARLIEST, limit=10**9)}
    assert acknowledged <= held.keys()
    assert all(record.event.data == id.encode() * 50 for id, record in held.items()), "whole, and nobody else's"

    rest = settling("t")
    await subscribe(log, rest)
    await until(lambda: rest.subscription.lag()[:3] == (0, 0, 0))
    delivered.update(rest.ids)
    assert acknowledged <= delivered.keys(), "everything was delivered at least once"
    # At a kill comes again what was in flight, at most the room of 50, and what was settled since the last group.
    twice = sum(count - 1 for id, count in delivered.items() if int(id) % 50 != 7)
    print(f"acknowledged {len(acknowledged)}, delivered again {twice} in {KILLS} kills")
    assert twice <= KILLS * 4 * 50
    await store.close()
