"""The serving container of Knative's multi-container sample: passes on what its sidecar says."""

import os
import signal
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Serving(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        sidecar = HTTPConnection("127.0.0.1", 8882, timeout=5)
        sidecar.request("GET", "/")
        body = sidecar.getresponse().read() + b"\n"
        sidecar.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8881"))), Serving).serve_forever(poll_interval=60)
