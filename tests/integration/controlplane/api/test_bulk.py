"""POST /dataplane/v1/apply: all or nothing (CP-02)."""

import asyncio
from typing import Any

import pytest

from controlplane import strict
from controlplane.api import bulk
from controlplane.api.app import make_app
from controlplane.knative_config import KnativeConfig
from controlplane.store.contract import Change, Delete, Key, StoreFailed
from controlplane.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.resources.kinds import KINDS
from tests.integration.controlplane.api.client import SERVICES, Api, config_map, manifest
from tests.integration.controlplane.api.turns import Turns


class NoLogs:
    async def read(self, *_: object, **__: object) -> Any:
        for piece in ():
            yield piece


APPLY = "/dataplane/v1/apply"
NAMESPACE: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}


def in_team(name: str) -> dict[str, Any]:
    return {**manifest(), "metadata": {"name": name, "namespace": "team"}}


def actions(body: list[dict[str, Any]]) -> list[str]:
    return [one["action"] for one in body]


async def test_several_objects_with_their_namespace_are_one_commit(api: Api) -> None:
    seen: list[Change] = []
    commits: list[int] = []
    real = api.store.commit

    async def counted(writes):
        writes = list(writes)
        commits.append(len(writes))
        return await real(writes)

    api.store.commit = counted
    api.store.watch(seen.append)
    code, body = await api("POST", APPLY, [NAMESPACE, in_team("a"), in_team("b"), manifest()])
    assert (code, actions(body)) == (200, ["created"] * 4)
    assert commits == [4]
    assert [change.key.name for change in seen] == ["team", "a", "b", "hello"]
    assert body[1]["object"]["metadata"]["namespace"] == "team"
    assert body[3]["object"]["metadata"]["namespace"] == "default"


async def test_again_is_unchanged_and_a_change_is_configured(api: Api) -> None:
    await api("POST", APPLY, [NAMESPACE, manifest()])
    before = api.store.revision
    assert actions((await api("POST", APPLY, [NAMESPACE, manifest()]))[1]) == ["unchanged", "unchanged"]
    assert api.store.revision == before
    _, body = await api("POST", APPLY, [NAMESPACE, manifest(image="demo://other")])
    assert actions(body) == ["unchanged", "configured"]
    assert body[1]["object"]["metadata"]["generation"] == 2


async def test_what_the_file_no_longer_says_goes_and_what_others_wrote_stays(api: Api) -> None:
    def labelled(**labels: str) -> list[Any]:
        return [{**manifest(), "metadata": {"name": "hello", "labels": labels}}]

    await api("POST", APPLY, labelled(a="1", b="1"))
    await api("PATCH", f"{SERVICES}/hello", {"metadata": {"labels": {"c": "1"}}}, "application/merge-patch+json")
    _, [one] = await api("POST", APPLY, labelled(a="2"))
    assert one["object"]["metadata"]["labels"] == {"a": "2", "c": "1"}


async def test_CP_02_one_bad_object_and_nothing_is_written_and_every_mistake_is_named(api: Api) -> None:
    before = api.store.revision
    unknown_field = manifest("x")
    unknown_field["spec"]["trafic"] = []
    bad = [
        manifest(),
        unknown_field,
        {"apiVersion": "v9", "kind": "Thing"},
        {**manifest(), "metadata": {"name": "y", "namespace": "nowhere"}},
        {**manifest("z"), "spec": {"template": {"spec": {"containers": []}}}},
        manifest(),
        7,
        {**manifest(), "metadata": {}},
    ]
    code, body = await api("POST", APPLY, bad)
    assert (code, body["kind"], body["status"]) == (400, "Status", "Failure")
    causes = {cause["field"]: cause["message"] for cause in body["details"]["causes"]}
    assert set(causes) == {"[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]"}
    assert 'unknown field "spec.trafic"; did you mean "traffic"?' in causes["[1]"]
    assert 'no matches for kind "Thing" in version "v9"' in causes["[2]"]
    assert 'namespaces "nowhere" not found' in causes["[3]"]
    assert "validation failed: missing field(s): spec.template.spec.containers" in causes["[4]"]
    assert "the same object is already at [0]" in causes["[5]"]
    assert api.store.revision == before


async def test_CP_02_a_store_that_fails_leaves_nothing(api: Api) -> None:
    async def full(_: object) -> None:
        raise StoreFailed("disk full")

    real, api.store.commit = api.store.commit, full
    assert (await api("POST", APPLY, [NAMESPACE, in_team("a")]))[0] == 500
    api.store.commit = real
    assert (await api("GET", "/api/v1/namespaces/team"))[0] == 404


async def test_dry_run_says_what_would_happen(api: Api) -> None:
    await api("POST", APPLY, [manifest()])
    before = api.store.revision
    code, body = await api("POST", f"{APPLY}?dryRun=All", [manifest(image="demo://x"), manifest("new")])
    assert (code, actions(body)) == (200, ["configured", "created"])
    assert api.store.revision == before


async def test_CP_03_it_is_tried_again_when_somebody_was_faster(api: Api) -> None:
    await api("POST", APPLY, [manifest()])

    async def label(n: int) -> int:
        patch = {"metadata": {"labels": {f"l{n}": "x"}}}
        return (await api("PATCH", f"{SERVICES}/hello", patch, "application/merge-patch+json"))[0]

    applies = [api("POST", APPLY, [manifest(image=f"demo://{n}"), manifest(f"s{n}")]) for n in range(10)]
    results = await asyncio.gather(*applies, *(label(n) for n in range(10)))
    assert {one if isinstance(one, int) else one[0] for one in results} == {200}
    assert len((await api("GET", f"{SERVICES}/hello"))[1]["metadata"]["labels"]) == 10


async def test_an_object_whose_last_finalizer_goes_is_removed(api: Api) -> None:
    meta = {"name": "c", "finalizers": ["a.b/c"]}
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    await api("POST", APPLY, [one])
    await api("DELETE", "/api/v1/namespaces/default/configmaps/c")
    code, _ = await api("POST", APPLY, [{**one, "metadata": {"name": "c"}}])
    assert code == 200
    assert api.store.get(Key("", "ConfigMap", "default", "c")) is None


@pytest.mark.parametrize(("body", "code"), [({}, 400), ("x", 400), ([], 200)])
async def test_the_body_is_a_list(api: Api, body: object, code: int) -> None:
    assert (await api("POST", APPLY, body))[0] == code


async def test_a_single_object_over_one_and_a_half_mebibytes_is_named(api: Api) -> None:
    big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "y" * 1_600_000}}
    code, body = await api("POST", APPLY, [manifest(), big])
    assert (code, body["details"]["causes"][0]["field"]) == (400, "[1]")


async def test_a_thousand_services_at_once(api: Api) -> None:
    code, body = await api("POST", APPLY, [manifest(f"s{n:04}") for n in range(1000)])
    assert (code, len(body)) == (200, 1000)
    await api.store.commit([Delete(Key("serving.knative.dev", "Service", "default", "s0000"))])
    await api.put(config_map())


async def test_CP_06_without_a_verdict_of_admission_nothing_is_written(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Admission is a function of this process, so it cannot be unreachable; if it breaks, it fails closed."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("admission broke")

    await api("POST", APPLY, [manifest("before")])
    revision = api.store.revision
    monkeypatch.setattr("controlplane.api.writes.admit", broken)
    assert (await api("POST", APPLY, [manifest("after")]))[0] == 500
    assert (await api("POST", SERVICES, manifest("after")))[0] == 500
    assert api.store.revision == revision
    monkeypatch.undo()
    assert (await api("POST", SERVICES, manifest("after")))[0] == 201


async def test_a_thousand_objects_are_read_checked_and_answered_a_few_in_a_turn(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch, bulk, "_item", "applied", "to_builtins")
    code, body = await api("POST", APPLY, [{**manifest(), "metadata": {"name": f"m{n}"}} for n in range(300)])
    turns.close()
    assert (code, len(body)) == (200, 300)
    for name, found in turns.counts.items():
        assert sum(found) == 300, name
        assert max(found) <= bulk.OBJECTS_PER_TURN, name


async def test_no_write_waits_for_type_information() -> None:
    strict._checker.cache_clear()
    make_app(store=MemoryStore(), config=KnativeConfig, clock=SYSTEM, token="t", logs=NoLogs())
    before = strict._checker.cache_info().misses
    for kind in KINDS:
        strict.decode(kind.struct, {"metadata": {"name": "a"}})
    assert strict._checker.cache_info().misses == before
