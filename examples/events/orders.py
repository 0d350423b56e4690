"""Two subscribers in one program: `bill` answers an order with an invoice, `book` writes down what it gets.

An event is an HTTP request: its attributes are `ce-` headers, its data is the body. What is answered is an event, too,
if it says so; it goes back into the broker. Standard library only.
"""

import json
import os
import signal
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROLE = os.environ.get("ROLE", "book")


class Subscriber(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if ROLE == "book":
            print(f"booked {self.headers['ce-type']} {self.headers['ce-id']} {body.decode()}", flush=True)
            self.answer(204)
            return
        order = json.loads(body)
        if "total" not in order:
            self.answer(400, b"an order has a total")  # 4xx: it will never be right, do not send it again
            return
        invoice = json.dumps({"order": self.headers.get("ce-subject"), "due": round(order["total"] * 1.2, 2)}).encode()
        attributes = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": "/billing",
            "type": "dev.example.invoice",
        }
        self.answer(200, invoice, {f"ce-{name}": value for name, value in attributes.items()})

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", "application/json" if headers else "text/plain")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Subscriber).serve_forever(poll_interval=60)
