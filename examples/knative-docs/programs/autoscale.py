"""What ghcr.io/knative/autoscale-go does: `?sleep=MS`, `?prime=MAX`, `?bloat=MB` at once, a line for each."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def sleep(ms):
    start = time.monotonic()
    time.sleep(ms / 1000)
    return f"Slept for {(time.monotonic() - start) * 1000:.2f} milliseconds.\n"


def prime(limit):
    sieve = bytearray([1]) * max(limit, 2)
    sieve[0:2] = b"\0\0"
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, len(sieve), n)))
    largest = sieve.rfind(1)
    if largest < 0:
        return f"There are no primes smaller than {limit}.\n"
    return f"The largest prime less than {limit} is {largest}.\n"


def bloat(mb):
    block = bytearray(mb * 1024 * 1024)
    block[0] = block[-1] = 1
    return f"Allocated {mb} Mb of memory.\n"


WORK = {"sleep": sleep, "prime": prime, "bloat": bloat}


def answer(query):
    """Status and text for a query string."""
    values = parse_qs(query)
    try:
        wanted = [(WORK[name], int(values[name][0])) for name in WORK if name in values]
    except ValueError as error:
        return 400, f"{error}\n"
    wanted = [(work, amount) for work, amount in wanted if amount > 0]
    if len(wanted) < 2:
        return 200, "".join(work(amount) for work, amount in wanted)
    with ThreadPoolExecutor(len(wanted)) as pool:
        return 200, "".join(pool.map(lambda item: item[0](item[1]), wanted))


class Autoscale(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        status, text = answer(urlsplit(self.path).query)
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer.request_queue_size = 1024
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Autoscale).serve_forever(poll_interval=60)
