"""Answers each request with its place in the order of arrival, one at a time: for what is held must leave in order."""

import asyncio
import os


class Ordered(asyncio.Protocol):
    arrived = 0

    def connection_made(self, transport):
        self.transport, self.kept = transport, b""

    def data_received(self, data):
        *heads, self.kept = (self.kept + data).split(b"\r\n\r\n")
        for _ in heads:
            place = b"%d" % Ordered.arrived
            Ordered.arrived += 1
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(place), place))


async def main():
    server = await asyncio.get_running_loop().create_server(Ordered, "127.0.0.1", int(os.environ["PORT"]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
