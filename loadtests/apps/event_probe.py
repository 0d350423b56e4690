"""Producer and subscriber of events in one process, so that one clock sees both ends; open loop.

    python event_probe.py --subscriber-port P … then, on stdin, one line: BROKER_PORT PATH RATE SECONDS

Each event carries the instant at which it was due as an attribute; the subscriber answers 202 and takes the
difference. Prints one line of JSON: accepted, delivered, refused, and quantiles in µs from due to accepted and from due
to delivered.
"""

import asyncio
import json
import sys
import time

import uvloop

BODY = b'{"n":"' + b"x" * 1016 + b'"}'
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class Subscriber(asyncio.Protocol):
    late_us: list[float] = []

    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        out = []
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                break
            head = self.data[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + size:
                break
            due = head.find(b"ce-due:")
            if due >= 0:
                self.late_us.append((time.monotonic() - float(head[due + 7 :].partition(b"\r\n")[0])) * 1e6)
            self.data = self.data[end + 4 + size :]
            out.append(ACCEPTED)
        if out:
            self.transport.write(b"".join(out))


class Producer(asyncio.Protocol):
    def __init__(self, load):
        self.load = load

    def connection_made(self, transport):
        self.transport, self.data, self.due = transport, b"", 0.0
        self.load.idle.append(self)

    def fire(self, due, number):
        self.due = due
        load = self.load
        self.transport.write(load.head % (number, due) + BODY)

    def data_received(self, data):
        self.data += data
        if self.data.endswith(b"\r\n\r\n") or b"\r\n\r\n" in self.data:
            load = self.load
            if self.data.startswith(b"HTTP/1.1 202"):
                load.accepted_us.append((time.monotonic() - self.due) * 1e6)
            else:
                load.refused += 1
            self.data = b""
            load.idle.append(self)


class Load:
    def __init__(self, path):
        self.idle, self.accepted_us, self.refused, self.missed = [], [], 0, 0
        self.head = (
            f"POST {path} HTTP/1.1\r\nhost: b\r\nce-specversion: 1.0\r\nce-id: p%d\r\nce-source: /bench/probe\r\n"
            f"ce-type: dev.example.order\r\nce-due: %.6f\r\ncontent-type: application/json\r\n"
            f"content-length: {len(BODY)}\r\n\r\n"
        ).encode()

    async def run(self, port, rate, seconds):
        loop = asyncio.get_running_loop()
        for _ in range(128):
            await loop.create_connection(lambda: Producer(self), "127.0.0.1", port)
        number, began = 0, time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            while began + number / rate <= now:
                if self.idle:
                    self.idle.pop().fire(began + number / rate, number)
                else:
                    self.missed += 1
                number += 1
            await asyncio.sleep(0.001)


def quantiles(values):
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        f"p{q}".replace(".", ""): round(ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))])
        for q in (50, 90, 99, 99.9)
    } | {"max": round(ordered[-1])}


async def main(port):
    loop = asyncio.get_running_loop()
    await loop.create_server(Subscriber, "127.0.0.1", port)
    print("listening", flush=True)
    line = await asyncio.to_thread(sys.stdin.readline)
    broker, path, rate, seconds = line.split()
    load = Load(path)
    await load.run(int(broker), float(rate), float(seconds))
    before = -1
    while len(Subscriber.late_us) != before:
        before = len(Subscriber.late_us)
        await asyncio.sleep(1)
    print(
        json.dumps(
            {
                "accepted": len(load.accepted_us),
                "delivered": len(Subscriber.late_us),
                "refused": load.refused,
                "missed": load.missed,
                "to_accepted_us": quantiles(load.accepted_us),
                "to_delivered_us": quantiles(Subscriber.late_us),
            }
        ),
        flush=True,
    )


uvloop.run(main(int(sys.argv[sys.argv.index("--subscriber-port") + 1])))
