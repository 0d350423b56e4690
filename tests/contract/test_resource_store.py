"""Every resource store keeps controlplane/store/contract.py. Memory is the executable specification."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.store.contract import Change, Conflict, Delete, Gone, Key, Put, Store, StoreFailed
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta, Resource

Open = Callable[..., Store]


def memory(_: Path, **options: int) -> Store:
    return MemoryStore(**options)


def sqlite(folder: Path, **options: int) -> Store:
    return SqliteStore(folder / "store.db", **options)


@pytest.fixture(params=[memory, sqlite])
def open_store(request, tmp_path) -> Open:
    return lambda **options: request.param(tmp_path, **options)


@pytest.fixture
async def store(open_store):
    store = open_store()
    yield store
    await store.close()


def key(name: str, namespace: str = "default", kind: str = "ConfigMap") -> Key:
    return Key("", kind, namespace, name)


def config_map(name: str, value: str = "", namespace: str = "default") -> Resource:
    return core.ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace), data={"v": value})


def put(name: str, value: str = "", expect: str | None = None, namespace: str = "default") -> Put:
    return Put(key(name, namespace), config_map(name, value, namespace), expect)


def version(one: Resource | None) -> str:
    assert one is not None
    return one.metadata.resource_version


def value(one: Resource | None) -> str:
    assert isinstance(one, core.ConfigMap)
    return one.data["v"]


async def test_what_was_put_is_read_back_with_a_resource_version(store: Store) -> None:
    before = store.revision
    [stored] = await store.commit([put("a", "1", "")])
    assert stored == store.get(key("a"))
    assert value(stored) == "1"
    assert int(version(stored)) == store.revision > before


async def test_a_missing_object_is_none(store: Store) -> None:
    assert store.get(key("a")) is None
    assert store.objects("", "ConfigMap") == []


async def test_the_versions_of_all_changes_differ_and_grow(store: Store) -> None:
    first = await store.commit([put("a"), put("b")])
    second = await store.commit([put("c"), Delete(key("a"))])
    versions = [int(version(one)) for one in first + second]
    assert versions == sorted(set(versions))


async def test_a_list_is_ordered_by_namespace_and_name_and_knows_namespaces(store: Store) -> None:
    await store.commit(
        [put("b", namespace="n2"), put("b", namespace="n1"), put("a", namespace="n2"), put("a", namespace="n")]
    )
    names = [(o.metadata.namespace, o.metadata.name) for o in store.objects("", "ConfigMap")]
    assert names == [("n", "a"), ("n1", "b"), ("n2", "a"), ("n2", "b")]
    assert [o.metadata.name for o in store.objects("", "ConfigMap", "n2")] == ["a", "b"]
    await store.commit([Delete(key("a", "n2")), put("c", namespace="n2")])
    assert [o.metadata.name for o in store.objects("", "ConfigMap", "n2")] == ["b", "c"]
    assert store.objects("", "Secret") == []


async def test_create_refuses_what_is_there(store: Store) -> None:
    await store.commit([put("a", "1", "")])
    with pytest.raises(Conflict) as conflict:
        await store.commit([put("a", "2", "")])
    assert value(conflict.value.current) == "1"


async def test_replace_refuses_another_version_and_a_missing_object(store: Store) -> None:
    [old] = await store.commit([put("a", "1")])
    [new] = await store.commit([put("a", "2", version(old))])
    with pytest.raises(Conflict) as conflict:
        await store.commit([put("a", "3", version(old))])
    assert conflict.value.current == new
    with pytest.raises(Conflict) as conflict:
        await store.commit([put("b", "3", version(old))])
    assert conflict.value.current is None


async def test_delete_returns_the_last_state_at_the_version_of_the_deletion(store: Store) -> None:
    [old] = await store.commit([put("a", "1")])
    with pytest.raises(Conflict):
        await store.commit([Delete(key("a"), str(int(version(old)) + 7))])
    [last] = await store.commit([Delete(key("a"), version(old))])
    assert value(last) == "1"
    assert int(version(last)) == store.revision > int(version(old))
    assert store.get(key("a")) is None


async def test_delete_of_a_missing_object_is_no_error_and_no_change(store: Store) -> None:
    before = store.revision
    assert await store.commit([Delete(key("a"))]) == []
    assert store.revision == before


async def test_a_put_that_changes_nothing_keeps_the_version_and_calls_nobody(store: Store) -> None:
    [old] = await store.commit([put("a", "1")])
    seen: list[Change] = []
    store.watch(seen.append)
    assert await store.commit([put("a", "1")]) == [old]
    assert seen == []


async def test_CP_02_a_commit_with_one_conflict_writes_nothing(store: Store) -> None:
    await store.commit([put("taken", "1")])
    before = store.revision
    seen: list[Change] = []
    store.watch(seen.append)
    with pytest.raises(Conflict):
        await store.commit([put("a"), Delete(key("taken")), put("b", "", "77")])
    assert (store.revision, seen) == (before, [])
    assert store.get(key("a")) is None
    assert value(store.get(key("taken"))) == "1"


async def test_writes_of_one_commit_see_each_other(store: Store) -> None:
    await store.commit([put("a", "1", ""), Delete(key("a")), put("a", "2", "")])
    assert value(store.get(key("a"))) == "2"


async def test_a_watcher_hears_each_change_once_in_order_until_it_stops(store: Store) -> None:
    seen: list[Change] = []
    stop = store.watch(seen.append)
    await store.commit([put("a", "1"), put("b", "1")])
    await store.commit([put("a", "2"), Delete(key("b"))])
    stop()
    await store.commit([put("a", "3")])
    stop()
    assert [(c.type, c.key.name) for c in seen] == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert [str(c.revision) for c in seen] == [version(c.object) for c in seen]


async def test_every_watcher_was_called_with_the_state_visible_when_commit_returns(store: Store) -> None:
    seen: list[tuple[str, str]] = []
    store.watch(lambda change: seen.append((value(change.object), value(store.get(change.key)))))
    await store.commit([put("a", "1")])
    assert seen == [("1", "1")]


async def test_a_watcher_since_a_revision_first_hears_what_it_missed(store: Store) -> None:
    await store.commit([put("a", "1")])
    since = store.revision
    await store.commit([put("a", "2"), put("b", "1")])
    seen: list[Change] = []
    store.watch(seen.append, since=since)
    await store.commit([Delete(key("a"))])
    assert [(c.type, c.key.name) for c in seen] == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]


async def test_CP_04_history_that_is_no_longer_kept_is_gone(open_store: Open) -> None:
    store = open_store(history_max=3)
    first = store.revision
    for n in range(5):
        await store.commit([put("a", str(n))])
    for since in (first, store.revision - 4, store.revision + 1):
        with pytest.raises(Gone):
            store.watch(print, since=since)
    seen: list[Change] = []
    store.watch(seen.append, since=store.revision - 3)
    assert [value(c.object) for c in seen] == ["2", "3", "4"]
    await store.close()


async def test_a_watcher_that_raises_harms_nobody_else(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Change) -> None:
        raise ValueError("broken")

    seen: list[Change] = []
    store.watch(broken)
    store.watch(seen.append)
    await store.commit([put("a")])
    assert len(seen) == 1
    assert "watcher_failed" in caplog.text


async def test_a_watcher_added_by_a_watcher_hears_only_what_comes_after(store: Store) -> None:
    late: list[Change] = []
    store.watch(lambda _: late or store.watch(late.append))
    await store.commit([put("a"), put("b")])
    assert late == []


async def test_CP_03_concurrent_read_modify_write_loses_no_update(store: Store) -> None:
    await store.commit([put("counter", "0", "")])
    seen: list[str] = []
    store.watch(lambda change: seen.append(value(change.object)))

    async def add(times: int) -> None:
        for _ in range(times):
            while True:
                old = store.get(key("counter"))
                try:
                    await store.commit([put("counter", str(int(value(old)) + 1), version(old))])
                    break
                except Conflict:
                    await asyncio.sleep(0)

    await asyncio.gather(*(add(10) for _ in range(8)))
    assert seen == [str(n) for n in range(1, 81)]


async def test_a_commit_whose_caller_left_is_done_or_not_but_never_half(store: Store) -> None:
    async def pair(n: int) -> None:
        await store.commit([put("a", str(n)), put("b", str(n))])

    tasks = [asyncio.create_task(pair(n)) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.commit([put("after")])
    assert value(store.get(key("a"))) == value(store.get(key("b"))) == "19"


Step = tuple[str, str, str, str]
steps = st.tuples(
    st.sampled_from(["put", "delete"]),
    st.sampled_from("abc"),
    st.sampled_from(["any", "absent", "current", "stale"]),
    st.sampled_from("xy"),
)


@pytest.mark.parametrize("kind", [memory, sqlite])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(commits=st.lists(st.lists(steps, max_size=4), max_size=12), at_once=st.booleans())
def test_any_history_is_what_a_dictionary_would_do_and_watches_are_the_history(
    kind, commits: list[list[Step]], at_once
) -> None:
    """`at_once`: commits are issued without waiting, so that a store may group them; only unconditional ones then."""

    async def run(folder: Path) -> None:
        store = kind(folder)
        floor = store.revision
        model: dict[Key, str] = {}
        seen: list[Change] = []
        store.watch(seen.append)
        pending: list[asyncio.Task[list[Resource]]] = []
        for steps_ in commits:
            trial, writes, conflict = dict(model), [], False
            for verb, name, expectation, data in steps_:
                here, present, expect = key(name), store.get(key(name)), None
                if at_once or expectation == "any":
                    pass
                elif expectation == "current":
                    if any(write.key == here for write in writes):
                        continue  # nobody can know the version it has in the middle of the commit
                    expect = version(present) if present is not None else ""
                else:
                    expect = {"absent": "", "stale": "0"}[expectation]
                    conflict = conflict or expectation == "stale" or here in trial
                if verb == "put":
                    writes.append(put(name, data, expect))
                    trial[here] = data
                else:
                    writes.append(Delete(here, expect))
                    trial.pop(here, None)
            if at_once:
                pending.append(asyncio.ensure_future(store.commit(writes)))
                model = trial
                continue
            try:
                await store.commit(writes)
            except Conflict:
                assert conflict
            else:
                assert not conflict
                model = trial
            assert {key(o.metadata.name): value(o) for o in store.objects("", "ConfigMap")} == model
        await asyncio.gather(*pending)
        assert {key(o.metadata.name): value(o) for o in store.objects("", "ConfigMap")} == model

        replayed: dict[Key, Resource] = {}
        for change in seen:
            assert (change.type == "ADDED") == (change.key not in replayed)
            if change.type == "DELETED":
                del replayed[change.key]
            else:
                replayed[change.key] = change.object
        assert sorted(replayed) == [key(o.metadata.name) for o in store.objects("", "ConfigMap")]
        assert all(store.get(k) == one for k, one in replayed.items())
        for since in [floor, *(c.revision for c in seen)]:
            late: list[Change] = []
            store.watch(late.append, since=since)()
            assert late == [c for c in seen if c.revision > since]
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def test_a_closed_store_refuses_writes_or_is_memory(open_store: Open) -> None:
    store = open_store()
    await store.commit([put("a")])
    await store.close()
    await store.close()
    assert store.get(key("a")) is not None
    if isinstance(store, SqliteStore):
        with pytest.raises(StoreFailed):
            await store.commit([put("b")])
