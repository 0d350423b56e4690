"""The floor: bytes from one socket to another on uvloop, nothing read in them. arguments: PORT BACKEND_PORT.

Four system calls per request and what the loop adds to them; whatever a proxy in Python does comes on top.
"""

import asyncio
import sys

import uvloop


class Up(asyncio.Protocol):
    def __init__(self, down: "Down") -> None:
        self.down = down

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.down.transport.write(data)


class Down(asyncio.Protocol):
    def __init__(self, loop, backend: int) -> None:
        self.loop, self.backend = loop, backend
        self.up: Up | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.up is None:
            self.dialling = self.loop.create_task(self.dial(data))
        else:
            self.up.transport.write(data)

    async def dial(self, data: bytes) -> None:
        _, self.up = await self.loop.create_connection(lambda: Up(self), "127.0.0.1", self.backend)
        self.up.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.up is not None:
            self.up.transport.abort()


async def main(port: int, backend: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Down(loop, backend), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
