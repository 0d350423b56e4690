"""An HTTP client of the API under test, and small objects."""

import asyncio
import io
import json
from typing import Any

import aiohttp
from aiohttp import web

from controlplane.store.contract import Key, Put
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore
from dataplane.resources import core
from dataplane.resources.meta import ObjectMeta, Resource

SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"
MAPS = "/api/v1/namespaces/default/configmaps"


class Api:
    def __init__(
        self, store: MemoryStore | SqliteStore, runner: web.AppRunner, url: str, session: aiohttp.ClientSession
    ) -> None:
        self.store = store
        self.runner = runner
        self.url = url
        self.session = session

    async def __call__(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """Status and JSON body."""
        data: bytes | io.BytesIO | None = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            data = io.BytesIO(data)  # aiohttp warns of large bytes
        headers = {"Content-Type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            self.headers = response.headers
            text = await response.text()
            return response.status, json.loads(text) if text[:1] in ("{", "[") else text

    def watch(self, path: str, **query: str) -> Any:
        query = {"watch": "true", **query}
        return self.session.get(self.url + path, params=query)

    async def put(self, one: Resource, kind: str = "ConfigMap") -> Resource:
        key = Key("", kind, one.metadata.namespace, one.metadata.name)
        [stored] = await self.store.commit([Put(key, one, None)])
        return stored


def config_map(name: str = "a", value: str = "1", **labels: str) -> core.ConfigMap:
    meta = ObjectMeta(name=name, namespace="default", labels=labels)
    return core.ConfigMap(metadata=meta, data={"v": value})


def manifest(name: str = "hello", image: str = "demo://hello") -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


async def event(response: aiohttp.ClientResponse) -> tuple[str, dict[str, Any]]:
    """The next event of a watch."""
    async with asyncio.timeout(10):
        line = json.loads(await response.content.readline())
    return line["type"], line["object"]
