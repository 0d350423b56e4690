"""The serving container: hands out what the sidecar rendered; not ready before there is something."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(os.environ["SITE_DIR"], "index.html")


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        try:
            status, body = 200, b"ok\n" if self.path == "/healthz" and PAGE.exists() else PAGE.read_bytes()
        except FileNotFoundError:
            status, body = 503, b"not rendered yet\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ["PORT"])), Web).serve_forever(poll_interval=60)
