import asyncio
import os
from pathlib import Path

import pytest

from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.runtime.snapshotfile import FileWatcher, parse_snapshot
from dataplane.telemetry.metrics import Registry

GOOD = """
routes:
  default/hello:
    rules:
      - hosts: [hello.default.localhost]
        paths:
          - splits: [{revision: default/a, percent: 90}, {revision: default/b, percent: 10}]
revisions:
  default/a: {endpoints: [{id: a1, address: "127.0.0.1:9001"}]}
  default/b: {endpoints: [{id: b1, address: "127.0.0.1:9002"}]}
"""


def test_a_good_file_becomes_a_snapshot_and_names_come_from_the_keys() -> None:
    snapshot = parse_snapshot(GOOD.encode(), "routes.yaml")
    assert snapshot.routes["default/hello"].name == "hello"
    assert snapshot.revisions["default/b"].endpoints[0].address == "127.0.0.1:9002"


def test_json_is_read_as_well() -> None:
    assert parse_snapshot(b'{"revisions": {"d/a": {}}}', "x.json").revisions["d/a"].namespace == "d"


def test_all_mistakes_are_told_each_with_line_and_column() -> None:
    text = """\
routes:
  default/hello:
    rules:
      - hosts: [Hello.localhost]
        paths:
          - splits: [{revision: default/a, percent: 90}, {revision: default/gone, percent: 5}]
revisions:
  default/a:
    endpoint: []
  default/b: {endpoints: [{id: x, address: nowhere}]}
  orphan: {}
colour: blue
"""
    with pytest.raises(ConfigFault) as caught:
        parse_snapshot(text.encode(), "routes.yaml")
    assert str(caught.value).splitlines() == [
        "routes.yaml:12:1: colour: unknown field; expected routes, revisions, brokers, triggers, generation, version",
        "routes.yaml:8:3: revisions.default/a: Object contains unknown field `endpoint`",
        "routes.yaml:11:3: revisions.orphan: the key must be namespace/name",
        "routes.yaml:2:3: routes.default/hello: rules[0].hosts: "
        "'Hello.localhost' must be lower case and without a port",
        "routes.yaml:2:3: routes.default/hello: rules[0].paths[0].splits: percents sum to 95, expected 100",
        "routes.yaml:2:3: routes.default/hello: rules[0].paths[0].splits: no revision 'default/gone' in this file",
        "routes.yaml:10:3: revisions.default/b: endpoints[0].address: 'nowhere' is not host:port",
    ]


def test_a_wrong_type_names_its_path() -> None:
    with pytest.raises(ConfigFault, match=r"revisions\.d/a: Expected `int`, got `str` - at `containerConcurrency`"):
        parse_snapshot(b"revisions: {d/a: {containerConcurrency: many}}", "x.yaml")


def test_another_format_version_is_refused() -> None:
    with pytest.raises(ConfigFault, match="this program reads format 1"):
        parse_snapshot(b"version: 2", "x.yaml")


@pytest.mark.parametrize("text", [b"a: [", b"{", b"- a"])
def test_what_is_not_a_document_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigFault, match=r"^x\.yaml"):
        parse_snapshot(text, "x.yaml")


class _Seen:
    def __init__(self) -> None:
        self.applied: list[tuple[Snapshot, Change]] = []
        self.turned = asyncio.Event()

    def __call__(self, snapshot: Snapshot, change: Change) -> None:
        self.applied.append((snapshot, change))
        self.turned.set()

    async def next(self) -> tuple[Snapshot, Change]:
        await self.turned.wait()
        self.turned.clear()
        return self.applied[-1]


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


async def test_GW_33_a_changed_file_is_applied_and_a_bad_one_is_refused_with_the_last_good_kept(tmp_path: Path) -> None:
    path, seen, registry, tasks = tmp_path / "routes.yaml", _Seen(), Registry(), Tasks("test")
    path.write_text(GOOD)
    watcher = FileWatcher(path=path, on_change=seen, tasks=tasks, registry=registry)
    await watcher.start()
    first, _ = await seen.next()
    assert first.generation == 1

    _replace(path, GOOD.replace("percent: 90", "percent: 80"))
    watcher.reload()
    while not watcher.error:
        await asyncio.sleep(0.01)
    assert watcher.snapshot is first
    assert "percents sum to 90" in watcher.error
    assert watcher.not_ready() == ""
    text = registry.render()
    assert "dataplane_snapshot_generation 1\n" in text
    assert "dataplane_snapshot_errors_total 1\n" in text
    assert "dataplane_snapshot_source_reachable 0\n" in text

    _replace(path, GOOD.replace("percent: 90", "percent: 50").replace("percent: 10", "percent: 50"))
    second, change = await seen.next()  # found by the poll alone
    assert second.generation == 2
    assert list(change.routes) == ["default/hello"]
    assert not change.revisions
    assert second.revisions["default/a"] is first.revisions["default/a"]
    assert watcher.error == ""
    await tasks.close()


async def test_a_file_that_is_only_touched_changes_nothing(tmp_path: Path) -> None:
    path, seen, tasks = tmp_path / "routes.yaml", _Seen(), Tasks("test")
    path.write_text(GOOD)
    watcher = FileWatcher(path=path, on_change=seen, tasks=tasks, registry=Registry())
    await watcher.start()
    await watcher._read(None)
    assert len(seen.applied) == 1
    await tasks.close()


async def test_a_bad_first_file_ends_the_start(tmp_path: Path) -> None:
    tasks = Tasks("test")
    watcher = FileWatcher(path=tmp_path / "none.yaml", on_change=_Seen(), tasks=tasks, registry=Registry())
    with pytest.raises(ConfigFault, match="No such file"):
        await watcher.start()
    assert len(tasks) == 0


def test_brokers_and_triggers_stand_beside_routes():
    text = """
brokers:
  default/b: {store: memory}
triggers:
  default/t:
    broker: b
    subscriber: {url: "http://127.0.0.1:9000/x"}
    filters: [{exact: {type: order}}]
"""
    snapshot = parse_snapshot(text.encode(), "routes.yaml")
    assert snapshot.brokers["default/b"].store == "memory"
    assert snapshot.triggers["default/t"].filters == ({"exact": {"type": "order"}},)


def test_a_trigger_of_no_broker_and_without_an_absolute_url_is_told():
    text = "triggers:\n  default/t: {broker: b, subscriber: {url: /x}}\n"
    with pytest.raises(ConfigFault) as caught:
        parse_snapshot(text.encode(), "routes.yaml")
    assert str(caught.value).splitlines() == [
        "routes.yaml:2:3: triggers.default/t: broker: no broker default/b in this file",
        "routes.yaml:2:3: triggers.default/t: subscriber.url: '/x' is not an absolute http or https URL",
    ]
