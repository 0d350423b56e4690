"""The serving container of Knative's multi-container sample: passes on what its sidecar says."""

import os
import signal
import sys
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def ask():
    """What the sidecar says. It has no probe, so this container may be ready, and asked, before it listens."""
    for pause_s in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 0):
        sidecar = HTTPConnection("127.0.0.1", 8882, timeout=5)
        try:
            sidecar.request("GET", "/")
            return sidecar.getresponse().read()
        except ConnectionRefusedError:
            time.sleep(pause_s)
        finally:
            sidecar.close()
    return b"the sidecar does not listen"


class Serving(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        body = ask() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8881"))), Serving).serve_forever(poll_interval=60)
