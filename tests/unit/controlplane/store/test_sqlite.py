"""What the SQLite store promises beyond the contract: durability, one file, one writer."""

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from controlplane.store.contract import Change, Delete, Gone, Key, Put, StoreFailed
from controlplane.store.sqlite import GROUP_MAX, WRITES_PER_TURN, SqliteStore
from controlplane.store.view import Planning
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta

ROOT = Path(__file__).parents[4]


def key(name: str, kind: str = "ConfigMap") -> Key:
    return Key("", kind, "default", name)


def put(name: str, value: str = "", expect: str | None = None) -> Put:
    meta = ObjectMeta(name=name, namespace="default")
    return Put(key(name), core.ConfigMap(metadata=meta, data={"v": value}), expect)


def pod(name: str, node: str = "") -> Put:
    meta = ObjectMeta(name=name, namespace="default")
    return Put(key(name, "Pod"), core.Pod(metadata=meta, spec=core.PodSpec(node_name=node)), None)


async def test_everything_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.commit([put("a", "1"), put("b", "ü\U0001f600")])
    [a] = await store.commit([put("a", "2")])
    await store.commit([Delete(key("b")), put("c", "3")])
    await store.close()
    again = SqliteStore(tmp_path / "s.db")
    assert again.get(key("a")) == a
    assert [o.metadata.name for o in again.objects("", "ConfigMap")] == ["a", "c"]
    assert again.revision >= store.revision
    await again.close()


async def test_pods_and_events_end_with_the_process_but_their_revisions_are_not_used_twice(tmp_path: Path) -> None:
    highest = 0
    for _ in range(3):
        store = SqliteStore(tmp_path / "s.db")
        assert store.objects("", "Pod") == []
        assert store.revision >= highest
        with pytest.raises(Gone):
            store.watch(print, since=store.revision - 1)
        for n in range(1500):  # more than are reserved at once
            await store.commit([pod("p", str(n))])
        highest = store.revision
        await store.close()


async def test_a_commit_of_both_kinds_is_one_commit(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    seen: list[str] = []
    store.watch(lambda change: seen.append(change.key.kind))
    await store.commit([put("a"), pod("p"), put("b")])
    assert seen == ["ConfigMap", "Pod", "ConfigMap"]
    await store.close()


async def test_the_loop_runs_while_the_disk_works_and_nothing_is_visible_before(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    real, disk = store._journal.write, threading.Event()

    def slow(*args, **kwargs) -> None:
        disk.wait()
        real(*args, **kwargs)

    store._journal.write = slow
    seen: list[object] = []
    store.watch(seen.append)
    commits = [asyncio.create_task(store.commit([put(str(n))])) for n in range(50)]
    await asyncio.sleep(0.01)
    assert store.objects("", "ConfigMap") == []
    assert seen == []
    disk.set()
    await asyncio.gather(*commits)
    assert len(seen) == 50
    await store.close()


async def test_commits_that_wait_share_one_transaction(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    real, groups = store._journal.write, []

    def counted(changes, **kwargs) -> None:
        groups.append(len(changes))
        real(changes, **kwargs)

    store._journal.write = counted
    await asyncio.gather(*(store.commit([put(str(n))]) for n in range(50)))
    assert groups == [1, 49]
    await store.close()


async def test_a_full_disk_fails_the_commit_shows_nothing_and_the_store_lives_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.commit([put("a", "1")])
    store._journal._db.execute("PRAGMA max_page_count = 8")
    seen: list[object] = []
    store.watch(seen.append)
    before = store.revision
    results = await asyncio.gather(
        store.commit([put("a", "2")]),
        store.commit([put("b", "x" * 200_000), put("c")]),
        store.commit([put("d")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], StoreFailed)
    assert "full" in str(results[1])
    assert isinstance(results[2], StoreFailed), "it shared the transaction"
    assert store.get(key("b")) is store.get(key("c")) is store.get(key("d")) is None
    assert len(seen) == 1
    assert store.revision == before + 1
    await store.commit([put("a", "3")])
    store._journal._db.execute("PRAGMA max_page_count = 100000")
    await store.commit([put("b", "x" * 200_000)])
    await store.close()
    again = SqliteStore(tmp_path / "s.db")
    assert [o.metadata.name for o in again.objects("", "ConfigMap")] == ["a", "b"]
    await again.close()


async def test_a_conflict_is_answered_only_when_what_it_lost_against_is_durable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.commit([put("hold")])
    real = store._journal.write
    broken = [False, True]

    def write(*args, **kwargs) -> None:
        if broken.pop(0):
            raise sqlite3.OperationalError("disk I/O error")
        real(*args, **kwargs)

    store._journal.write = write
    results = await asyncio.gather(
        store.commit([put("first")]),
        store.commit([put("a", "1", "")]),
        store.commit([put("a", "2", "")]),
        return_exceptions=True,
    )
    assert [type(r) for r in results] == [list, StoreFailed, StoreFailed]
    await store.close()


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    with pytest.raises(StoreFailed, match="in use"):
        SqliteStore(tmp_path / "s.db")
    await store.close()
    await SqliteStore(tmp_path / "s.db").close()


async def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.commit([put("a")])
    assert {stat.S_IMODE(f.stat().st_mode) for f in tmp_path.iterdir()} == {0o600}
    await store.close()


async def test_a_file_that_is_no_store_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is not a database, really, it is just text" * 100)
    with pytest.raises(StoreFailed, match=r"not a database; restore .* move it away"):
        SqliteStore(tmp_path / "s.db")
    with pytest.raises(StoreFailed, match="No such file"):
        SqliteStore(tmp_path / "nowhere" / "s.db")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE objects SET body = '{\"metadata\":'", r"ConfigMap default/a cannot be read"),
        ("UPDATE objects SET body = '{\"metadata\":7}'", r"Expected `object`, got `int` - at `\$.metadata`"),
        ("UPDATE objects SET body = x'ff00'", r"ConfigMap default/a cannot be read"),
        ("UPDATE objects SET kind = 'Gadget'", r"core/Gadget default/a: this version does not know the kind"),
        ("UPDATE meta SET value = 99 WHERE key = 'format'", r"has format 99, this version reads 1"),
    ],
)
async def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, change: str, message: str) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.commit([put("a")])
    await store.close()
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute(change)
    db.close()
    for _ in range(2):  # and the refusal lets go of the file
        with pytest.raises(StoreFailed, match=message):
            SqliteStore(tmp_path / "s.db")


async def test_a_damaged_page_is_found_at_start(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    await store.commit([put(f"a{n}", "x" * 500) for n in range(100)])
    await store.close()
    content = bytearray((tmp_path / "s.db").read_bytes())
    content[4096 * 5 : 4096 * 5 + 64] = os.urandom(64)
    (tmp_path / "s.db").write_bytes(content)
    with pytest.raises(StoreFailed, match=r"damaged|malformed"):
        SqliteStore(tmp_path / "s.db")


WRITER = """
import asyncio, sys
from controlplane.store.contract import Key, Put
from controlplane.store.sqlite import GROUP_MAX, WRITES_PER_TURN, SqliteStore
from controlplane.store.view import Planning
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta

def put(name, value):
    meta = ObjectMeta(name=name, namespace="default")
    return Put(Key("", "ConfigMap", "default", name), core.ConfigMap(metadata=meta, data={"v": str(value)}), None)

async def main():
    store = SqliteStore(sys.argv[1])
    async def writer(w):
        n = int(sys.argv[2])
        while True:
            n += 1
            stored = await store.commit([put(f"{w}-a", n), put(f"{w}-b", n)])
            sys.stdout.write(f"{w} {n} {stored[1].metadata.resource_version}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(writer(w) for w in range(4)))

asyncio.run(main())
"""


async def test_CP_02_kill_9_at_any_moment_loses_no_acknowledged_commit_and_halves_none(tmp_path: Path) -> None:
    generator = random.Random(7)
    found, highest = dict.fromkeys("0123", 0), 0  # per writer: what was last read back
    for _ in range(6):
        start = max(found.values())
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "s.db"), str(start)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        await asyncio.sleep(generator.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        lines += child.stdout.readlines()
        child.stdout.close()
        acknowledged: dict[str, int] = {}
        for line in lines:
            if line.endswith("\n"):
                writer, n, revision = line.split()
                acknowledged[writer] = int(n)
                highest = max(highest, int(revision))
        store = SqliteStore(tmp_path / "s.db")
        assert store.revision >= highest
        for writer, before in found.items():
            halves = [store.get(key(f"{writer}-{half}")) for half in "ab"]
            values = {int(one.data["v"]) if one else 0 for one in halves}
            assert len(values) == 1
            found[writer] = values.pop()
            if writer in acknowledged:
                assert found[writer] - acknowledged[writer] in (0, 1)
            else:
                assert found[writer] in (before, start + 1)
        await store.close()
    assert min(found.values()) > 0


class Turns:
    """Counts what happens in each turn of the loop, as long as it is open."""

    def __init__(self) -> None:
        self.counts = [0]
        self._loop = asyncio.get_running_loop()
        self._next()

    def add(self, *_: object) -> None:
        self.counts[-1] += 1

    def close(self) -> None:
        self._handle.cancel()

    def _next(self) -> None:
        self.counts.append(0)
        self._handle = self._loop.call_soon(self._next)


async def test_a_large_commit_takes_several_turns_each_of_bounded_work_and_is_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "s.db")
    planned, told = Turns(), Turns()
    add = Planning.add
    monkeypatch.setattr(Planning, "add", lambda self, write: planned.add() or add(self, write))
    visible: set[int] = set()
    names: list[str] = []

    def watcher(change: Change) -> None:
        told.add()
        names.append(change.key.name)
        visible.add(len(store.objects("", "ConfigMap")))

    store.watch(watcher)
    results = await store.commit([put(f"c{n:04}") for n in range(1000)])
    planned.close()
    told.close()
    assert len(results) == 1000
    assert names == [f"c{n:04}" for n in range(1000)]
    assert visible == {1000}  # together, however long the telling takes
    assert sum(planned.counts) == sum(told.counts) == 1000
    assert max(planned.counts) <= WRITES_PER_TURN
    assert max(told.counts) <= WRITES_PER_TURN
    await store.close()


async def test_many_commits_at_once_share_transactions_and_a_turn_tells_a_bounded_number(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    real, transactions = store._journal.write, []

    def counted(changes, **more) -> None:
        transactions.append(len(list(changes)))
        real(changes, **more)

    store._journal.write = counted
    told = Turns()
    store.watch(told.add)
    await asyncio.gather(*(store.commit([put(f"c{n}"), pod(f"p{n}")]) for n in range(500)))
    told.close()
    assert sum(told.counts) == 1000
    assert max(told.counts) <= WRITES_PER_TURN
    assert len(transactions) <= 1 + 500 // GROUP_MAX + 1
    await store.close()


async def test_a_commit_that_arrives_while_a_large_one_is_being_told_is_told_after_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    seen: list[int] = []
    late: list[asyncio.Task] = []

    def watcher(change: Change) -> None:
        seen.append(change.revision)
        if len(seen) == 10:
            late.append(asyncio.ensure_future(store.commit([put("late", expect="")])))

    store.watch(watcher)
    await store.commit([put(f"c{n}") for n in range(400)])
    [stored] = await late[0]
    assert seen == sorted(seen)
    assert len(seen) == 401
    assert int(stored.metadata.resource_version) == seen[-1]
    await store.close()


async def test_who_begins_to_watch_while_a_large_commit_is_being_told_hears_each_change_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.db")
    start = store.revision
    early: list[int] = []
    late: list[int] = []

    def watcher(change: Change) -> None:
        early.append(change.revision)
        if len(early) == 150:
            store.watch(lambda change: late.append(change.revision), since=start)

    store.watch(watcher)
    await store.commit([put(f"c{n}") for n in range(400)])
    await store.commit([put("one more")])
    assert late == early
    await store.close()
