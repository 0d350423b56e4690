"""What does a connection cost that says nothing? (P4)"""

import asyncio

from harness import HOST, Bench, verdict
from subjects import backend, gateway, peer, snapshot

CONNECTIONS = 10_000
BATCH = 200
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def what_does_an_idle_connection_weigh(bench: Bench) -> None:
    """P4: resident memory per keep-alive connection that has had one answer, 10 000 of them."""
    origin = backend(bench)
    everyone = [gateway(bench, snapshot(origin)), peer(bench, "nginx", origin), peer(bench, "envoy", origin)]
    for subject in filter(None, everyone):
        asyncio.run(_hold(subject.port, 100))  # what the first connections cost once is not what each costs
        before = subject.rss_bytes()
        during = asyncio.run(_hold(subject.port, CONNECTIONS, subject.rss_bytes))
        each = (during - before) / CONNECTIONS / 1024
        bench.record(
            "P4", subject.name, connections=CONNECTIONS, rss_before_bytes=before, rss_bytes=during, kib_each=each
        )
        print(f"  {subject.name:16} {each:6.2f} KiB each, {during / 2**20:.0f} MiB in all", flush=True)
        if subject.name == "gateway":
            verdict("P4 resident memory per idle connection", each, 8, "KiB")


async def _hold(port: int, count: int, measure=lambda: 0) -> int:
    """Opens `count` connections, one request on each, and returns what `measure` says while all are open."""
    streams = []
    for start in range(0, count, BATCH):
        streams += await asyncio.gather(*(_open(port) for _ in range(start, min(start + BATCH, count))))
    await asyncio.sleep(1)
    found = measure()
    for _, writer in streams:
        writer.transport.abort()
    await asyncio.sleep(0.5)
    return found


async def _open(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"port {port} answered {head[:200]!r}")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    await reader.readexactly(length)
    return reader, writer
