"""What happens when thousands of requests arrive at once and nothing is running? (P7)"""

import asyncio
import time

from harness import Bench, Failed, quantiles, verdict
from scenarios.scale_from_zero import AT_ZERO, CONFIG
from subjects import Client, service, up

REQUESTS = 5_000
BATCH = 250


def does_everyone_get_an_answer_in_order(bench: Bench) -> None:
    """P7: 5 000 requests at once to a service at zero: errors, order of release, time to the last answer."""
    subject, data = up(bench)
    client = Client(data)
    ceiling = AT_ZERO | {"autoscaling.knative.dev/max-scale": "1"}
    client.apply(CONFIG)
    client.apply(service("stampede", "bench/ordered", annotations=ceiling, concurrency=100))
    client.wait_ready("stampede")
    took, places, errors = asyncio.run(_stampede(subject.port, "stampede.default.localhost"))
    moved = [abs(place - sent) for sent, place in enumerate(places)]
    figures = quantiles([value * 1000 for value in took])
    bench.record(
        "P7", subject.name, requests=REQUESTS, errors=len(errors), displaced_max=max(moved), unit="ms", **figures
    )
    print("  " + "  ".join(f"{key} {value:.0f}" for key, value in figures.items()) + " ms", flush=True)
    print(f"  furthest out of order: {max(moved)} places of {REQUESTS} (100 are released at a time)")
    for error in errors[:5]:
        print(f"  {error}")
    verdict("P7 errors", len(errors), 0, "")
    verdict("P7 displacement beyond one release", max(moved), 100, "places")


async def _stampede(port: int, host: str) -> tuple[list[float], list[int], list[str]]:
    """All connections are open before the first byte is sent; request i is sent i-th."""
    streams = []
    for start in range(0, REQUESTS, BATCH):
        opening = (asyncio.open_connection("127.0.0.1", port) for _ in range(start, min(start + BATCH, REQUESTS)))
        streams += await asyncio.gather(*opening)
    began = time.perf_counter()
    for _, writer in streams:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    took, places, errors = [], [], []

    async def answer(reader: asyncio.StreamReader) -> int:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
        length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        body = (await reader.readexactly(length)).decode()
        took.append(time.perf_counter() - began)
        if " 200 " not in head[:16]:
            raise Failed(f"{head.splitlines()[0]} {body[:100]}")
        return int(body)

    async with asyncio.timeout(120):
        for result in await asyncio.gather(*(answer(reader) for reader, _ in streams), return_exceptions=True):
            if isinstance(result, BaseException):
                errors.append(repr(result))
            else:
                places.append(result)
    for _, writer in streams:
        writer.transport.abort()
    return took, places or [0], errors
