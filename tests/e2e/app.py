"""The pod of these tests: answers `REVISION VERSION PID NUMBER`, the number counting requests in order of arrival.

`/sleep/MS` answers after that many milliseconds, and adds how many slept here at once, at most, until then. `/until/FILE`
answers when there is such a file. Standard library only, so that it starts fast.
"""

import asyncio
import itertools
import os

NAME = f"{os.environ.get('K_REVISION', '-')} {os.environ.get('VERSION', '-')} {os.getpid()}"
NUMBERS = itertools.count()
ASLEEP = [0, 0]  # now, at most


class App(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.data = b""

    def data_received(self, data):
        self.data += data
        while True:
            head, mark, rest = self.data.partition(b"\r\n\r\n")
            if not mark:
                return
            at = head.lower().find(b"\r\ncontent-length:")
            size = int(head[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(rest) < size:
                return
            self.data = rest[size:]
            path = head.split(b" ", 2)[1]
            body = f"{NAME} {next(NUMBERS)}".encode()
            if path.startswith(b"/sleep/"):
                ASLEEP[0] += 1
                ASLEEP[1] = max(ASLEEP)
                asyncio.get_running_loop().call_later(int(path[7:]) / 1000, self.wake, body)
            elif path.startswith(b"/until/"):
                self.look(path[6:], body)
            else:
                self.answer(body)

    def look(self, file, body):
        if os.path.exists(file):
            self.answer(body)
        else:
            asyncio.get_running_loop().call_later(0.02, self.look, file, body)

    def wake(self, body):
        self.answer(b"%b %d" % (body, ASLEEP[1]))
        ASLEEP[0] -= 1

    def answer(self, body):
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(App, "127.0.0.1", int(os.environ["PORT"]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
