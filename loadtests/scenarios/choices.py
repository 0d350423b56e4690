"""The numbers behind docs/decisions: what each choice costs, and what its alternative would. (D)"""

import asyncio
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from harness import BROWSER, HERE, HOST, Bench

sys.path.insert(0, str(HERE.parent))

COUNT = 200_000


def what_do_our_choices_cost(bench: Bench) -> None:
    """D: heads that repeat, metrics cells, spawning from the serving loop, one transaction per commit or per group."""
    _heads(bench)
    _metrics(bench)
    _spawning(bench)
    _commits(bench)


def _heads(bench: Bench) -> None:
    """Microseconds of CPU per head: each way that is there to read one, and those that were tried and dropped."""
    import re

    import httptools

    from dataplane.wire.headers import from_outside, from_upstream
    from dataplane.wire.http1_request import RequestReader
    from dataplane.wire.http1_response import ResponseReader

    def head(number: int) -> bytes:
        lines = [line for line in BROWSER if not line.startswith(("Cookie", "X-Request-Id", "traceparent"))]
        lines += [f"Cookie: session={number:022x}; theme=dark", f"X-Request-Id: 6f0a1b2c-3d4e-5f60-7182-{number:012x}"]
        lines += [f"traceparent: 00-{number:032x}-{number:016x}-01"]
        block = "".join(f"{line}\r\n" for line in (f"Host: {HOST}", *lines))
        return f"GET /items/{number} HTTP/1.1\r\n{block}\r\n".encode()

    alike, varied = [head(1)] * 5_000, [head(number) for number in range(5_000)]
    answer = b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: Fri, 27 Nov 2026 06:24:18 GMT\r\nContent-Type: text/plain\r\n"
    answers = [answer + b"Content-Length: 36\r\nConnection: keep-alive\r\n\r\n" + b"x" * 36] * 5_000

    def each(call: Callable[[bytes], object], over: list[bytes]) -> list[float]:
        figures = []
        for _ in range(9):
            began = time.process_time()
            for one in over:
                call(one)
            figures.append((time.process_time() - began) / len(over) * 1e6)
        return figures

    def fed(one: bytes) -> None:
        reader.feed(one)
        reader.reset()

    def listed(one: bytes) -> None:
        reader._block = reader._repeat = None
        reader.read(one)

    reader = RequestReader(from_outside())
    _one(bench, "head, no two alike: fed, a call of Python per field", "µs", each(fed, varied))
    reader = RequestReader(from_outside())
    _one(bench, "head, no two alike: fields into a dictionary", "µs", each(listed, varied))
    reader = RequestReader(from_outside())
    _one(bench, "head, no two alike: what differs from the last", "µs", each(reader.read, varied))
    _one(bench, "head, all alike: compared with the last", "µs", each(reader.read, alike))
    judge = httptools.HttpRequestParser(object())
    _one(bench, "head: llhttp alone, no callback", "µs", each(lambda h: judge.feed_data(h), varied))
    token, value = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++", rb"[\t -~]*+"
    whole = re.compile(rb"[A-Z]++ /[!-~]*+ HTTP/1\.1\r\n(?:" + token + rb":" + value + rb"\r\n)++\r\n")
    marked = re.compile(rb"\n(?:[Hh]ost|[Cc]on|[Tt](?:[Ee]|ra)|[Uu]p|[Ee]x|[Kk]|[Pp]roxy|[Xx]-[FfRr]|[Ff]orw)")
    _one(bench, "head: one expression over all of it (dropped)", "µs", each(whole.fullmatch, varied))
    _one(bench, "head: an expression that finds what is looked at (dropped)", "µs", each(marked.findall, varied))
    _one(bench, "head: split into lines (dropped)", "µs", each(lambda h: h.split(b"\r\n"), varied))
    response = ResponseReader(from_upstream())
    response.feed(answers[0])
    response.remember(answers[0])
    _one(bench, "answer: known by its head", "µs", each(response.read, answers))

    def answered(one: bytes) -> None:
        response.reset(bodyless=False)
        response.feed(one)

    _one(bench, "answer: fed, a call of Python per field", "µs", each(answered, answers))


def _metrics(bench: Bench) -> None:
    import prometheus_client

    from dataplane.telemetry.metrics import Registry

    ours, theirs = Registry(), prometheus_client.CollectorRegistry()
    cell = ours.counter("bench_total", "Counter.", ("code",)).cell("200")
    labelled = prometheus_client.Counter("bench_total", "Counter.", ["code"], registry=theirs)
    child = labelled.labels("200")

    def add() -> None:
        for _ in range(COUNT):
            cell.v += 1

    def inc() -> None:
        for _ in range(COUNT):
            child.inc()

    _both(bench, "count one request", "ns", add, inc, 1e9 / COUNT, "cell", "prometheus_client")
    family = ours.gauge("bench_series", "Series.", ("name",))
    gauges = prometheus_client.Gauge("bench_series", "Series.", ["name"], registry=theirs)
    for number in range(15_000):
        family.cell(f"series-{number}").v = number
        gauges.labels(f"series-{number}").set(number)
    _both(
        bench,
        "render 15 000 series",
        "ms",
        lambda: ours.render(),
        lambda: prometheus_client.generate_latest(theirs),
        1e3,
        "cells",
        "prometheus_client",
    )


def _spawning(bench: Bench) -> None:
    """How long a loop stands still for each process that is started from it, with 400 MB resident."""
    import uvloop

    ballast = bytearray(400 * 1024 * 1024)
    ballast[::4096] = b"x" * len(ballast[::4096])

    async def start() -> list[float]:
        stood = []
        for _ in range(20):
            began = time.perf_counter()
            starting = asyncio.ensure_future(asyncio.create_subprocess_exec("/bin/true"))
            await asyncio.sleep(0)  # the turn in which the process is made
            await asyncio.sleep(0)
            stood.append((time.perf_counter() - began) * 1e3)
            await (await starting).wait()
        return stood

    for name, factory in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
        with asyncio.Runner(loop_factory=factory) as runner:
            figures = runner.run(start())
        _one(bench, f"loop stands still while spawning, {name}", "ms", figures)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    _one(bench, "a bare interpreter starts", "ms", [(time.perf_counter() - began) * 1e3])
    del ballast


def _commits(bench: Bench) -> None:
    """One durable transaction per object, and per 64 objects: microseconds each."""
    body = b"x" * 1024
    for group in (1, 64):
        database = sqlite3.connect(bench.folder / f"commits-{group}.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE objects(key INTEGER PRIMARY KEY, body BLOB)")
        figures, key = [], 0
        for _ in range(2_000 // group):
            began = time.perf_counter()
            database.execute("BEGIN")
            for _ in range(group):
                key += 1
                database.execute("INSERT INTO objects VALUES(?, ?)", (key, body))
            database.execute("COMMIT")
            figures.append((time.perf_counter() - began) / group * 1e6)
        database.close()
        _one(bench, f"durable commit of 1 KiB, {group} to a transaction", "µs", figures)


def _both(
    bench: Bench,
    what: str,
    unit: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    scale: float,
    *names: str,
) -> None:
    for name, function in zip(names, (ours, theirs), strict=True):
        figures = []
        for _ in range(7):
            began = time.perf_counter()
            function()
            figures.append((time.perf_counter() - began) * scale)
        _one(bench, f"{what}, {name}", unit, figures)


def _one(bench: Bench, what: str, unit: str, figures: list[float]) -> None:
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    bench.record("D", what, unit=unit, min=low, median=middle, max=high)
    print(f"  {what:50} {low:.2f}–{middle:.2f}–{high:.2f} {unit}", flush=True)
