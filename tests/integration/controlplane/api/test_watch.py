"""Watches: order, resumption, selectors, bookmarks, slow and lost clients (CP-04)."""

import asyncio
import json
import socket

import pytest

from controlplane.api import watch as watching
from controlplane.store.contract import Delete, Key, Put
from tests.integration.controlplane.api.client import MAPS, Api, config_map, event

TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


def key(name: str = "a") -> Key:
    return Key("", "ConfigMap", "default", name)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def watchers(api: Api) -> int:
    return len(api.store._view._watchers)


async def test_a_watch_without_a_version_starts_with_what_is_there(api: Api) -> None:
    await api.put(config_map())
    async with api.watch(MAPS) as response:
        assert response.headers["Content-Type"] == "application/json"
        kind, one = await event(response)
        assert (kind, one["metadata"]["name"]) == ("ADDED", "a")
        await api.put(config_map(value="2"))
        kind, one = await event(response)
        assert (kind, one["data"]) == ("MODIFIED", {"v": "2"})
        await api.store.commit([Delete(key())])
        kind, one = await event(response)
        assert (kind, one["metadata"]["resourceVersion"]) == ("DELETED", str(api.store.revision))


async def test_CP_04_list_then_watch_misses_nothing_and_repeats_nothing(api: Api) -> None:
    await api.put(config_map("a"))
    _, listed = await api("GET", MAPS)
    await api.put(config_map("b"))
    await api.put(config_map("a", "2"))
    async with api.watch(MAPS, resourceVersion=listed["metadata"]["resourceVersion"]) as response:
        seen = [await event(response), await event(response)]
        await api.put(config_map("c"))
        seen.append(await event(response))
    assert [(kind, one["metadata"]["name"]) for kind, one in seen] == [
        ("ADDED", "b"),
        ("MODIFIED", "a"),
        ("ADDED", "c"),
    ]


async def test_CP_04_a_version_that_is_no_longer_kept_is_410(api: Api) -> None:
    await api.put(config_map())
    old = str(api.store.revision)
    for n in range(510):
        await api.put(config_map(value=str(n)))
    for since in (old, str(api.store.revision + 1)):
        code, body = await api("GET", f"{MAPS}?watch=true&resourceVersion={since}")
        assert (code, body["reason"], body["code"]) == (410, "Expired", 410)
    assert watchers(api) == 0


async def test_CP_04_a_client_that_is_cut_off_at_random_converges_to_the_list(api: Api) -> None:
    """A reflector of twenty lines, with a connection that dies all the time while another task writes."""
    cache: dict[str, str] = {}
    version = ""

    async def write() -> None:
        for n in range(400):
            if n % 7 == 3:
                await api.store.commit([Delete(key(f"k{n % 5}"))])
            else:
                await api.put(config_map(f"k{n % 5}", str(n)))
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    streams = 0
    while not writer.done() or version != str(api.store.revision):
        if not version:
            _, listed = await api("GET", MAPS)
            cache = {one["metadata"]["name"]: one["data"]["v"] for one in listed["items"]}
            version = listed["metadata"]["resourceVersion"]
        async with api.watch(MAPS, resourceVersion=version) as response:
            streams += 1
            if response.status == 410:
                version = ""
                continue
            for _ in range(1 + streams % 9):
                if version == str(api.store.revision):
                    break
                kind, one = await event(response)
                assert int(one["metadata"]["resourceVersion"]) > int(version), "once, in order"
                version = one["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    del cache[one["metadata"]["name"]]
                else:
                    cache[one["metadata"]["name"]] = one["data"]["v"]
            response.close()
        await asyncio.sleep(0)
    await writer
    assert streams > 3
    assert cache == {o.metadata.name: o.data["v"] for o in api.store.objects("", "ConfigMap")}
    await until(lambda: watchers(api) == 0)


async def test_an_object_that_begins_or_ceases_to_match_is_added_or_deleted(api: Api) -> None:
    await api.put(config_map("a", color="red"))
    async with api.watch(MAPS, labelSelector="color=red") as response:
        assert (await event(response))[0] == "ADDED"
        await api.put(config_map("b"))
        await api.put(config_map("a", color="blue"))
        await api.put(config_map("b", color="red"))
        await api.put(config_map("b", "2", color="red"))
        await api.store.commit([Delete(key("a"))])
        await api.store.commit([Delete(key("b"))])
        seen = [await event(response) for _ in range(4)]
    assert [(kind, one["metadata"]["name"]) for kind, one in seen] == [
        ("DELETED", "a"),
        ("ADDED", "b"),
        ("MODIFIED", "b"),
        ("DELETED", "b"),
    ]


async def test_a_resumed_watch_with_a_selector_tells_what_left_while_nobody_watched(api: Api) -> None:
    await api.put(config_map("a", color="red"))
    await api.put(config_map("b", color="red"))
    since = str(api.store.revision)
    await api.put(config_map("a", color="blue"))
    await api.put(config_map("c", color="blue"))
    await api.put(config_map("c", color="red"))
    async with api.watch(MAPS, labelSelector="color=red", resourceVersion=since) as response:
        await api.put(config_map("b", "2", color="red"))
        seen = [await event(response) for _ in range(3)]
    assert [(kind, one["metadata"]["name"]) for kind, one in seen] == [
        ("DELETED", "a"),
        ("ADDED", "c"),
        ("MODIFIED", "b"),
    ]


async def test_only_the_namespace_and_kind_that_were_asked_for(api: Api) -> None:
    async with api.watch("/api/v1/namespaces/knative-serving/configmaps") as response:
        await api.put(config_map("a"))
        await api("POST", "/api/v1/namespaces/knative-serving/secrets", {"metadata": {"name": "s"}})
        await api("POST", "/api/v1/namespaces/knative-serving/configmaps", {"metadata": {"name": "b"}})
        assert (await event(response))[1]["metadata"]["name"] == "b"


async def test_a_streaming_list_marks_its_end(api: Api) -> None:
    await api.put(config_map())
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with api.watch(MAPS, **query) as response:
        assert (await event(response))[0] == "ADDED"
        kind, one = await event(response)
        assert kind == "BOOKMARK"
        assert one["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert one["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_tables_say_their_columns_once(api: Api) -> None:
    await api.put(config_map())
    async with api.session.get(f"{api.url}{MAPS}?watch=1", headers={"Accept": TABLE}) as response:
        _, first = await event(response)
        await api.put(config_map("b"))
        _, second = await event(response)
    assert (len(first["columnDefinitions"]), second["columnDefinitions"]) == (3, [])
    assert second["rows"][0]["cells"][0] == "b"


async def test_a_watch_ends_at_its_timeout_with_a_bookmark(api: Api) -> None:
    async with api.watch(MAPS, timeoutSeconds="1", allowWatchBookmarks="true") as response:
        kind, one = await event(response)
        assert (kind, one["metadata"]["resourceVersion"]) == ("BOOKMARK", str(api.store.revision))
        assert await response.content.read() == b""
    assert watchers(api) == 0


@pytest.mark.parametrize("query", ["resourceVersion=x", "timeoutSeconds=-1", "resourceVersion=1.5"])
async def test_broken_queries_are_400(api: Api, query: str) -> None:
    assert (await api("GET", f"{MAPS}?watch=true&{query}"))[0] == 400


async def test_a_client_that_leaves_is_noticed_without_any_change(api: Api) -> None:
    async with api.watch(MAPS):
        await until(lambda: watchers(api) == 1)
    await until(lambda: watchers(api) == 0)


async def test_CP_04_a_client_that_does_not_read_is_dropped_and_the_others_are_not(api: Api, monkeypatch) -> None:
    monkeypatch.setattr(watching, "QUEUE_MAX", 50)
    host, port = api.runner.addresses[0][:2]
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, port))
        head = f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\n\r\n"
        slow.sendall(head.encode())
        async with api.watch(MAPS) as response:
            await until(lambda: watchers(api) == 2)
            sent = 0
            while watchers(api) == 2:
                await api.put(config_map(value=f"{sent}" + "x" * 100_000))
                sent += 1
                await event(response)
                assert sent < 1000, "its buffer has no end"
            await api.put(config_map(value="last"))
            assert (await event(response))[1]["data"] == {"v": "last"}
        slow.settimeout(5)
        received = b""
        try:
            while piece := slow.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        assert len(received) < sent * 100_000


async def test_a_burst_larger_than_the_queue_ends_the_stream_with_410(api: Api, monkeypatch) -> None:
    monkeypatch.setattr(watching, "QUEUE_MAX", 10)
    async with api.watch(MAPS) as response:
        await until(lambda: watchers(api) == 1)
        # In one turn: nobody could have read.
        await api.store.commit(Put(key(f"k{n}"), config_map(f"k{n}"), None) for n in range(30))
        lines = [json.loads(line) async for line in response.content]
    assert lines[-1]["type"] == "ERROR"
    assert lines[-1]["object"]["code"] == 410


async def test_watches_end_when_the_server_stops(api: Api) -> None:
    async with api.watch(MAPS) as response:
        await until(lambda: watchers(api) == 1)
        async with asyncio.timeout(4):
            await api.runner.cleanup()
            assert await response.content.read() == b""


async def test_many_watchers_hear_the_same(api: Api) -> None:
    async def follow() -> list[str]:
        async with api.watch(MAPS, resourceVersion=str(start)) as response:
            return [(await event(response))[1]["data"]["v"] for _ in range(20)]

    start = api.store.revision
    tasks = [asyncio.create_task(follow()) for _ in range(20)]
    for n in range(20):
        await api.put(config_map(value=str(n)))
        await asyncio.sleep(0)
    assert {tuple(one) for one in await asyncio.gather(*tasks)} == {tuple(str(n) for n in range(20))}
