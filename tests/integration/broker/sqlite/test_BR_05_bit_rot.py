"""BR-05: a damaged record is found by its checksum, put aside and counted; those around it are delivered."""

import random
import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.store.contract import LogSettings
from broker.store.sqlite.files import PAGE_BYTES
from broker.store.sqlite.scrub import scrub
from dataplane.telemetry.metrics import Registry
from launch.cli import cli
from launch.instance import Failure
from tests.eventstore import EARLIEST, Subscriber, append, record, settling, subscribe, until

COUNT = 200


def metric(registry: Registry, name: str) -> float:
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", registry.render(), re.M)
    return sum(map(float, found))


async def filled(make_store) -> Path:
    """A store with COUNT records, a letter and a schedule row, closed: everything is in the main file."""
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber("other"))
    for i in range(0, COUNT, 20):
        await append(log, *[record(f"e{j}", data=f"payload of e{j} ".encode() * 60) for j in range(i, i + 20)])
    await subscriber.until(COUNT)
    subscriber.park(subscriber.got[0])
    await subscriber.subscription.close()
    await store.close()
    [path] = (store._folder / "default").glob("*.db")
    return path


def flip(path: Path, at: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


async def test_BR_05_a_changed_byte_costs_its_record_and_no_other(make_store) -> None:
    path = await filled(make_store)
    at = path.read_bytes().index(b"payload of e77 ") + 30
    flip(path, at)
    assert [name for name, _ in scrub(path).damaged] == ["record 78"]

    registry = Registry()
    store = await make_store(registry=registry)
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, settling(room=9), EARLIEST)
    await until(lambda: len(subscriber.got) >= COUNT - 1 and subscriber.subscription.lag().waiting == 0)
    assert subscriber.ids == [f"e{i}" for i in range(COUNT) if i != 77]
    assert metric(registry, "dataplane_broker_damaged_records_total") >= 1
    await append(log, record("after"))
    await subscriber.until(COUNT)
    await until(lambda: not len(log._groups.pending) and not log._groups._busy)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT position FROM damaged").fetchall() == [(78,)]


async def test_BR_05_a_damaged_page_costs_what_is_on_it(make_store) -> None:
    path = await filled(make_store)
    whole = path.read_bytes()
    page = whole.index(b"payload of e120 ") // PAGE_BYTES * PAGE_BYTES
    on_it = set(re.findall(rb'"id":"(e\d+)"', whole[page : page + PAGE_BYTES]))
    with path.open("r+b") as file:
        file.seek(page)
        file.write(b"\xff" * 64)  # the page's own head
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, settling(room=50), EARLIEST)
    await until(lambda: subscriber.subscription.lag().waiting == 0)
    missing = {f"e{i}" for i in range(COUNT)} - set(subscriber.ids)
    assert len(missing) <= 24, missing
    assert {id.decode() for id in on_it} & missing
    assert subscriber.ids == sorted(set(subscriber.ids), key=lambda id: int(id[1:]))
    assert scrub(path).structure


@pytest.mark.parametrize("seed", range(6))
async def test_BR_05_no_changed_byte_ever_delivers_what_was_not_appended(make_store, seed: int) -> None:
    path = await filled(make_store)
    chance = random.Random(seed)
    size = path.stat().st_size
    for _ in range(8):
        flip(path, chance.randrange(2 * PAGE_BYTES, size), chance.randrange(8))
    store = await make_store()
    try:
        log = await store.open("default/default", LogSettings())
        subscriber = await subscribe(log, settling(room=50), EARLIEST)
    except Exception as fault:  # the damage met the schema or the triggers: said in words, nothing delivered
        assert str(path) in str(fault)
        return
    await until(lambda: subscriber.subscription.lag()[:2] == (0, 0))
    assert len(subscriber.ids) == len(set(subscriber.ids))
    for delivery in subscriber.got:
        number = int(delivery.record.event.id[1:])
        assert delivery.record.event.data == f"payload of e{number} ".encode() * 60
        assert delivery.position == str(number + 1)
    assert len(subscriber.got) >= COUNT - 8 * 24


async def test_BR_05_a_letter_whose_record_is_damaged_is_not_delivered(make_store) -> None:
    path = await filled(make_store)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE letters SET data = x'00'")
    assert [name for name, _ in scrub(path).damaged] == ["letter 1"]
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, settling("other"))
    await until(lambda: subscriber.subscription.lag().waiting == 0)
    before = len(subscriber.got)
    assert await subscriber.subscription.redrive() == 1
    await until(lambda: len(subscriber.subscription.schedule) == 0 and not subscriber.subscription.again)
    assert len(subscriber.got) == before


def test_scrub_says_that_a_sound_file_is_sound(tmp_path: Path) -> None:
    from broker.store.sqlite.files import Appending, BrokerFile, Group
    from broker.store.sqlite.rows import encode

    file = BrokerFile(tmp_path / "x" / "b.db", "os")
    rows = [encode(record(f"e{i}")) for i in range(2500)]
    file.write(Group([Appending(rows, ())], [], {}, [], [], 1.0, 0.0))
    assert scrub(tmp_path / "x" / "b.db") == (2500, 0, [], [])
    file.close()


async def test_BR_05_the_command_names_what_is_damaged_and_exits_with_1(make_store) -> None:
    path = await filled(make_store)
    data = path.parents[2]
    sound = CliRunner().invoke(cli, ["events", "scrub", "--data", str(data)], standalone_mode=False)
    assert (sound.return_value, sound.output) == (0, "default/default: 200 records, 1 letters, 0 damaged\n")
    flip(path, path.read_bytes().index(b"payload of e77 ") + 30)
    found = CliRunner().invoke(cli, ["events", "scrub", "broker/default", "--data", str(data)], standalone_mode=False)
    assert found.return_value == 1
    assert "1 damaged\n  record 78: the checksum of position 78 does not hold" in found.output
    missing = CliRunner().invoke(cli, ["events", "scrub", "broker/nobody", "--data", str(data)], standalone_mode=False)
    assert isinstance(missing.exception, Failure)
