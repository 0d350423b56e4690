"""How long does a request wait while a thousand Services are applied? (M)"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable

from harness import Bench, Failed, Subject, quantiles, verdict
from scenarios.scale_from_zero import AT_ZERO, CONFIG
from subjects import Client, service, up

SERVICES = 1_000
LISTS = 20
EVERY_S = 0.001
BODY_BYTES = 36  # of apps/trivial.py
FLOOR = {"autoscaling.knative.dev/min-scale": "1"}
REQUEST = b"GET / HTTP/1.1\r\nHost: warm.default.localhost\r\n\r\n"


def does_a_mass_apply_hold_up_requests(bench: Bench) -> None:
    """M: requests to a warm Service on one connection, alone, beside one apply of 1 000, beside 1 000, beside lists."""
    for label, applied in (("one apply", _together), ("1000 creates", _one_by_one)):
        subject, data = up(bench)
        client = Client(data)
        client.apply(CONFIG)
        client.apply(service("warm", "bench/trivial", annotations=FLOOR))
        client.wait_ready("warm")
        calm = asyncio.run(_latencies(subject, lambda: time.sleep(3)))
        busy = asyncio.run(_latencies(subject, lambda applied=applied, client=client: applied(client)))  # type: ignore[misc]
        listed = asyncio.run(_latencies(subject, lambda client=client: _list(client)))  # type: ignore[misc]
        found = ((f"calm, before {label}", calm), (f"during {label}", busy), ("during lists of all", listed))
        for what, values in found:
            figures = quantiles(values)
            bench.record("M", subject.name, what=what, unit="ms", services=SERVICES, samples=len(values), **figures)
            print(
                f"  {what:26} " + "  ".join(f"{key} {value:.2f}" for key, value in figures.items()) + " ms", flush=True
            )
        verdict(f"M p99.9 during {label}, above the calm one", _p999(busy) - _p999(calm), 5, "ms")
        verdict("M p99.9 during lists, above the calm one", _p999(listed) - _p999(calm), 5, "ms")
        bench.stop()


def _objects() -> list[dict[str, object]]:
    return [service(f"mass-{number}", "bench/trivial", annotations=AT_ZERO) for number in range(SERVICES)]


def _list(client: Client) -> None:
    for _ in range(LISTS):
        client.call("GET", "/apis/serving.knative.dev/v1/services")


def _together(client: Client) -> None:
    client.apply(*_objects())
    client.wait_ready(*(f"mass-{number}" for number in range(SERVICES)))


def _one_by_one(client: Client) -> None:
    for one in _objects():
        client.call("POST", "/apis/serving.knative.dev/v1/namespaces/default/services", one)
    client.wait_ready(*(f"mass-{number}" for number in range(SERVICES)))


async def _latencies(subject: Subject, work: Callable[[], None]) -> list[float]:
    """Milliseconds of one request every millisecond or two, for as long as `work` takes in another process."""
    worker = multiprocessing.get_context("fork").Process(target=work)
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port)
    worker.start()
    took = []
    while worker.is_alive():
        began = time.perf_counter()
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(BODY_BYTES)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(EVERY_S)
    writer.close()
    worker.join()
    if worker.exitcode:
        raise Failed(f"the applying client ended with {worker.exitcode}")
    return took


def _p999(values: list[float]) -> float:
    return quantiles(values)["p999"]
