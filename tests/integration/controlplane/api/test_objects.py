"""The protocol below kubectl: versions, dry runs, forms, limits, statuses."""

import asyncio

import msgspec
import pytest

from controlplane.api import objects, tables
from controlplane.store.contract import Conflict, Key, StoreFailed
from dataplane.resources import serving
from dataplane.resources.meta import Condition
from tests.integration.controlplane.api.client import MAPS, SERVICES, Api, config_map, manifest
from tests.integration.controlplane.api.turns import Turns

MERGE = "application/merge-patch+json"


async def test_get_and_list_give_objects_and_versions(api: Api) -> None:
    stored = await api.put(config_map())
    code, one = await api("GET", f"{MAPS}/a")
    assert (code, one["metadata"]["resourceVersion"], one["kind"]) == (
        200,
        stored.metadata.resource_version,
        "ConfigMap",
    )
    code, many = await api("GET", "/api/v1/configmaps")
    assert (many["kind"], many["metadata"]["resourceVersion"]) == ("ConfigMapList", str(api.store.revision))
    assert many["items"] == [one]


async def test_a_list_in_pages(api: Api) -> None:
    for name in "abc":
        await api.put(config_map(name))
    _, first = await api("GET", f"{MAPS}?limit=2")
    token = first["metadata"]["continue"]
    _, second = await api("GET", f"{MAPS}?limit=2&continue={token}")
    assert [one["metadata"]["name"] for one in first["items"] + second["items"]] == ["a", "b", "c"]
    assert first["metadata"]["remainingItemCount"] == 1


async def test_metadata_only_and_tables(api: Api) -> None:
    await api.put(config_map())
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    _, body = await api("GET", MAPS, Accept=accept)
    assert (body["kind"], "data" in body["items"][0]) == ("PartialObjectMetadataList", False)
    table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    _, body = await api("GET", f"{MAPS}/a", Accept=table)
    assert body["rows"][0]["cells"][:2] == ["a", 1]


async def test_conditions_always_say_their_status(api: Api) -> None:
    await api("POST", SERVICES, manifest())
    status = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    _, body = await api("PATCH", f"{SERVICES}/hello/status", status, MERGE)
    assert body["status"]["conditions"] == [{"type": "Ready", "status": "Unknown"}]
    assert msgspec.to_builtins(Condition(type="x")) == {"type": "x", "status": "Unknown"}


async def test_generated_names_have_a_random_ending(api: Api) -> None:
    body = {"metadata": {"generateName": "job-"}, "data": {}}
    names = {(await api("POST", MAPS, body))[1]["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(len(name) == 9 and name.startswith("job-") for name in names)
    code, body = await api("POST", MAPS, {"data": {}})
    assert (code, body["reason"]) == (422, "Invalid")


async def test_create_refuses_versions_other_namespaces_and_missing_ones(api: Api) -> None:
    def body(**meta: str) -> object:
        return {"metadata": {"name": "a", **meta}}

    assert (await api("POST", MAPS, body(resourceVersion="1")))[0] == 400
    assert (await api("POST", MAPS, body(namespace="other")))[0] == 400
    assert (await api("POST", MAPS.replace("default", "nope"), body()))[0] == 404
    assert (await api("POST", "/api/v1/configmaps", body()))[0] == 400


async def test_server_fields_are_the_servers(api: Api) -> None:
    meta = {"name": "hello", "uid": "mine", "generation": 9, "creationTimestamp": "2000-01-01T00:00:00Z"}
    meta |= {"deletionTimestamp": "2000-01-01T00:00:00Z", "selfLink": "/x"}
    _, made = await api("POST", SERVICES, {**manifest(), "metadata": meta, "status": {"url": "http://x"}})
    assert made["metadata"]["uid"] != "mine"
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["creationTimestamp"] > "2026"
    assert "deletionTimestamp" not in made["metadata"]
    assert "url" not in made.get("status", {})
    changed = {**made, "metadata": {**made["metadata"], "creationTimestamp": None, "generation": 7}}
    _, after = await api("PUT", f"{SERVICES}/hello", changed)
    assert after["metadata"] == made["metadata"]


async def test_CP_03_writers_with_versions_lose_no_update(api: Api) -> None:
    await api.put(config_map(value="0"))

    async def add(times: int) -> None:
        for _ in range(times):
            while True:
                _, body = await api("GET", f"{MAPS}/a")
                body["data"]["v"] = str(int(body["data"]["v"]) + 1)
                code, answer = await api("PUT", f"{MAPS}/a", body)
                if code == 200:
                    break
                assert (code, answer["reason"]) == (409, "Conflict")

    await asyncio.gather(*(add(5) for _ in range(6)))
    assert (await api("GET", f"{MAPS}/a"))[1]["data"]["v"] == "30"


async def test_CP_03_patches_without_a_version_are_tried_again_until_they_are_in(api: Api) -> None:
    await api.put(config_map())
    patches = (api("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "x"}}, MERGE) for n in range(20))
    assert {code for code, _ in await asyncio.gather(*patches)} == {200}
    assert len((await api("GET", f"{MAPS}/a"))[1]["data"]) == 21


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_CP_03_what_loses_a_race_in_the_store_is_tried_again_but_not_for_ever(api: Api, method: str) -> None:
    await api.put(config_map())
    real, races = api.store.commit, [2]

    async def contended(writes):
        if races[0]:
            races[0] -= 1
            raise Conflict(Key("", "ConfigMap", "default", "a"), None)
        return await real(writes)

    api.store.commit = contended
    assert (await api("PATCH", f"{MAPS}/a", {"data": {"v": "2"}}, MERGE))[1]["data"] == {"v": "2"}
    races[0] = 1000
    code, body = await api(method, f"{MAPS}/a", {}, MERGE)
    assert (code, body["reason"]) == (409, "Conflict")


async def test_CP_03_a_patch_with_an_old_version_is_a_conflict(api: Api) -> None:
    old = await api.put(config_map())
    await api.put(config_map(value="2"))
    patch = {"metadata": {"resourceVersion": old.metadata.resource_version}, "data": {"v": "3"}}
    code, body = await api("PATCH", f"{MAPS}/a", patch, MERGE)
    assert (code, body["reason"], body["details"]["kind"]) == (409, "Conflict", "configmaps")
    uid = {"metadata": {"uid": "another"}}
    assert (await api("PATCH", f"{MAPS}/a", uid, MERGE))[1]["reason"] == "Conflict"


async def test_names_in_body_and_address_must_agree(api: Api) -> None:
    await api.put(config_map())
    code, body = await api("PUT", f"{MAPS}/a", {"metadata": {"name": "b"}})
    assert code == 400
    assert "the name of the object (b) does not match the name on the URL (a)" in body["message"]
    assert (await api("PATCH", f"{MAPS}/a", {"metadata": {"namespace": "x"}}, MERGE))[0] == 400


async def test_dry_run_of_everything_writes_nothing(api: Api) -> None:
    await api.put(config_map())
    before = api.store.revision
    assert (await api("POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "b"}}))[0] == 201
    assert (await api("POST", f"{MAPS}?dryRun=All", {"metadata": {"name": "a"}}))[0] == 409
    assert (await api("PATCH", f"{MAPS}/a?dryRun=All", {"data": {"v": "9"}}, MERGE))[1]["data"] == {"v": "9"}
    assert (await api("DELETE", f"{MAPS}/a?dryRun=All"))[0] == 200
    assert (await api("DELETE", f"{MAPS}/a", {"dryRun": ["All"]}))[0] == 200
    assert (await api("DELETE", f"{MAPS}?dryRun=All"))[0] == 200
    assert api.store.revision == before
    assert (await api("DELETE", f"{MAPS}/a?dryRun=maybe"))[0] == 400


async def test_delete_checks_its_preconditions(api: Api) -> None:
    stored = await api.put(config_map())
    for condition in ({"uid": "x"}, {"resourceVersion": "1"}):
        assert (await api("DELETE", f"{MAPS}/a", {"preconditions": condition}))[0] == 409
    version = {"resourceVersion": stored.metadata.resource_version}
    code, body = await api("DELETE", f"{MAPS}/a", {"preconditions": version})
    assert (code, body["status"], body["details"]["name"]) == (200, "Success", "a")
    assert (await api("DELETE", f"{MAPS}/a"))[0] == 404


async def test_deletecollection_takes_what_is_selected(api: Api) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        await api.put(config_map(name, color=color))
    code, body = await api("DELETE", f"{MAPS}?labelSelector=color%3Dred")
    assert (code, [one["metadata"]["name"] for one in body["items"]]) == (200, ["a", "c"])
    assert [one.metadata.name for one in api.store.objects("", "ConfigMap")] == ["b"]


@pytest.mark.parametrize("size", [3 * 512 * 1024 + 1, 8 * 1024 * 1024])
async def test_CP_01_a_body_over_one_and_a_half_mebibytes_is_413(api: Api, size: int) -> None:
    code, body = await api("POST", MAPS, b" " * size)
    assert (code, body["reason"]) == (413, "RequestEntityTooLarge")


async def test_CP_01_a_chunked_body_is_counted_as_it_comes(api: Api) -> None:
    async def endless():
        for _ in range(100):
            yield b" " * 65536

    async with api.session.post(api.url + MAPS, data=endless()) as response:
        assert response.status == 413


async def test_an_unknown_patch_format_is_415_and_names_the_known(api: Api) -> None:
    await api.put(config_map())
    code, body = await api("PATCH", f"{MAPS}/a", {}, "text/plain")
    assert (code, body["reason"]) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in body["message"]


async def test_warnings_come_as_headers(api: Api) -> None:
    body = {"metadata": {"name": "b"}, 'da"t\\a': {}}
    code, _ = await api("POST", MAPS, body)
    assert code == 201
    assert api.headers["Warning"].startswith('299 - "unknown field \\"da\\"t\\\\a\\"')


async def test_CP_02_a_store_that_fails_is_an_error_with_its_reason_and_reads_go_on(api: Api) -> None:
    await api.put(config_map())

    async def full(_: object) -> None:
        raise StoreFailed("nothing was written: database or disk is full")

    api.store.commit = full
    code, body = await api("POST", MAPS, {"metadata": {"name": "b"}})
    assert (code, body["reason"]) == (500, "InternalError")
    assert "disk is full" in body["message"]
    assert (await api("GET", f"{MAPS}/a"))[0] == 200


async def test_server_side_apply_of_yaml_creates_and_needs_a_manager(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: b}\n"
    kind = "application/apply-patch+yaml"
    assert (await api("PATCH", f"{MAPS}/map", text, kind))[0] == 400
    assert (await api("PATCH", f"{MAPS}/map?fieldManager=me", text, kind))[0] == 201
    code, body = await api("PATCH", f"{MAPS}/map?fieldManager=you", text.replace(b"a: b", b"a: c"), kind)
    assert code == 409
    [cause] = body["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.a")


async def test_server_side_apply_of_a_status(api: Api) -> None:
    await api("POST", SERVICES, manifest())
    body = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "status": {"url": "http://x"}}
    code, found = await api("PATCH", f"{SERVICES}/hello/status?fieldManager=s", body, "application/apply-patch+yaml")
    assert (code, found["status"], found["spec"]["traffic"][0]["percent"]) == (200, {"url": "http://x"}, 100)


async def test_annotations_of_the_last_modifier_and_the_creator(api: Api) -> None:
    await api("POST", SERVICES, manifest())
    patch = {"metadata": {"annotations": {"serving.knative.dev/creator": "mallory"}}}
    code, body = await api("PATCH", f"{SERVICES}/hello", patch, MERGE)
    assert code == 400
    assert "annotation value is immutable: metadata.annotations.serving.knative.dev/creator" in body["message"]


async def test_discovery_has_both_forms(api: Api) -> None:
    assert (await api("GET", "/api"))[1]["versions"] == ["v1"]
    assert {group["name"] for group in (await api("GET", "/apis"))[1]["groups"]} >= {serving.GROUP}
    assert (await api("GET", f"/apis/{serving.GROUP}"))[1]["preferredVersion"]["version"] == "v1"
    _, resources = await api("GET", f"/apis/{serving.GROUP}/v1")
    found = {one["name"]: one for one in resources["resources"]}
    assert found["services"]["shortNames"] == ["kservice", "ksvc"]
    assert found["services/status"]["verbs"] == ["get", "patch", "update"]
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    _, whole = await api("GET", "/apis", Accept=accept)
    assert whole["kind"] == "APIGroupDiscoveryList"
    assert "as=APIGroupDiscoveryList" in api.headers["Content-Type"]


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(("accept", "place", "shown"), [("*/*", objects, "to_builtins"), (TABLE, tables, "row")])
async def test_a_long_list_is_made_a_few_objects_in_a_turn(
    api: Api, monkeypatch: pytest.MonkeyPatch, accept: str, place: object, shown: str
) -> None:
    for number in range(200):
        await api.put(config_map(f"m{number:03}"))
    turns = Turns(monkeypatch, place, shown)
    code, many = await api("GET", MAPS, Accept=accept)
    turns.close()
    assert code == 200
    assert len(many.get("items") or many["rows"]) == 200
    assert sum(turns.counts[shown]) == 200
    assert max(turns.counts[shown]) <= objects.LISTED_PER_TURN
