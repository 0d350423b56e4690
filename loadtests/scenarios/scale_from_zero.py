"""How much later is the first answer of a service at zero than its own start? (P6)"""

import http.client
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress

from harness import HERE, Bench, Failed, free_port, quantiles, verdict
from subjects import Client, service, up

SAMPLES = 30
QUIET_S = 0.5  # statuses are written, events are counted, the one before is killed
AT_ZERO = {"autoscaling.knative.dev/initial-scale": "0"}
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "config-autoscaler", "namespace": "knative-serving"},
    "data": {"allow-zero-initial-scale": "true"},
}


def what_does_a_cold_start_add(bench: Bench) -> None:
    """P6: the first request to a fresh service with no pod, less the app's own start measured in the same round."""
    subject, data = up(bench)
    client = Client(data)
    client.apply(CONFIG)
    names = [f"cold-{number}" for number in range(SAMPLES)]
    client.apply(*(service(name, "bench/trivial", annotations=AT_ZERO) for name in names))
    client.wait_ready(*names)
    _own_start()
    own, held = [], []
    for number, name in enumerate(names):
        # Each begins on a quiet machine, and neither is always the first.
        time.sleep(QUIET_S)
        if number % 2:
            own.append(_own_start())
            time.sleep(QUIET_S)
        held.append(_first_answer(subject.port, f"{name}.default.localhost"))
        if not number % 2:
            time.sleep(QUIET_S)
            own.append(_own_start())
    added = [b - a for a, b in zip(own, held, strict=True)]
    for label, values in (("own start", own), ("first answer", held), ("added", added)):
        figures = quantiles([value * 1000 for value in values])
        bench.record("P6", subject.name, what=label, unit="ms", samples=SAMPLES, **figures)
        print(f"  {label:16} " + "  ".join(f"{key} {value:.1f}" for key, value in figures.items()) + " ms", flush=True)
    verdict("P6 added to the app's own start, median", quantiles(added)["p50"] * 1000, 20, "ms")


def _own_start() -> float:
    """Seconds from spawning the app to its first answer, polled without a pause."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PORT": str(port)}
    began = time.perf_counter()
    app = subprocess.Popen([sys.executable, "-I", "-S", str(HERE / "apps" / "trivial.py")], env=environment)
    try:
        while time.perf_counter() - began < 10:
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                if connection.recv(1000):
                    return time.perf_counter() - began
            time.sleep(0.0005)
        raise Failed("the trivial app does not start")
    finally:
        app.kill()
        app.wait()


def _first_answer(port: int, host: str) -> float:
    """Seconds from connecting to the whole answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200:
        raise Failed(f"{host}: {answer.status} {body[:200]!r}")
    return took
