"""A control plane as an autoscaler sees it: snapshots out, leases and decisions in, and faults on demand."""

import asyncio

import msgspec
from aiohttp import web

from dataplane.resources.scaling import Autoscaling, Decision, ScaleWrite
from dataplane.resources.snapshot import Change, Endpoint, Revision

KEY = "default/hello-00001"


class Control:
    """`faults`: statuses (or 0: drop the connection, -1: hang) for the next scale writes, in order."""

    def __init__(self, *, token="", spec=None):
        self.token = token
        self.spec = spec or Autoscaling(initialized=True, initial_scale=0)
        self.lease = 1000
        self.in_pieces = False  # whether a lease is answered in several
        self.faults: list[int] = []
        self.decisions: list[Decision] = []
        self.writers: list[int] = []
        self.sockets: set[web.WebSocketResponse] = set()
        self.generation = 0

    @property
    def wants(self):
        return [decision.want for decision in self.decisions]

    async def start(self, port=0):
        app = web.Application(middlewares=[self.guard])
        app.add_routes(
            [
                web.get("/dataplane/v1/snapshot", self.snapshot),
                web.post("/dataplane/v1/scale/lease", self.take_lease),
                web.post("/dataplane/v1/scale", self.scale),
            ]
        )
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def stop(self):
        for socket in list(self.sockets):
            await socket.close(code=1012)
        await self.runner.cleanup()

    @web.middleware
    async def guard(self, request, handler):
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        return await handler(request)

    def change(self, pods=0):
        self.generation += 1
        endpoints = tuple(Endpoint(id=f"pod-{n}", address=f"127.0.0.1:{9000 + n}") for n in range(pods))
        revision = Revision(namespace="default", name="hello-00001", endpoints=endpoints, autoscaling=self.spec)
        return Change(generation=self.generation, revisions={KEY: revision})

    async def publish(self, pods):
        frame = msgspec.json.encode(self.change(pods)).decode()
        for socket in self.sockets:
            await socket.send_str(frame)

    async def snapshot(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        await socket.send_str(msgspec.json.encode(self.change()).decode())
        async for _ in socket:
            pass
        self.sockets.discard(socket)
        return socket

    async def take_lease(self, request):
        self.lease += 1
        if not self.in_pieces:
            return web.json_response({"token": self.lease})
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in (b'{"token"', b": ", str(self.lease).encode(), b"}"):
            await answer.write(piece)
            await asyncio.sleep(0.02)
        return answer

    async def scale(self, request):
        write = msgspec.json.decode(await request.read(), type=ScaleWrite)
        fault = self.faults.pop(0) if self.faults else 200
        if fault == 0:
            request.transport.abort()
        if fault == -1:
            await asyncio.sleep(60)
        if fault not in (0, 200):
            return web.Response(status=fault, text="fault")
        if write.token != self.lease:
            return web.Response(status=409, text=f"token {write.token} is not {self.lease}")
        self.writers.append(write.token)
        self.decisions.extend(write.decisions)
        return web.json_response({})


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
