"""The smallest app that keeps the runtime contract: one thread, no import that is not needed, GET → 200 with 36 bytes.

Used where the figure is our part of a cold start: the app's own start should be as small as Python allows.
"""

import os
import selectors
import socket

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\nContent-Type: text/plain\r\n\r\nhello world hello world hello world\n"
)


def serve(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    poll = selectors.DefaultSelector()
    poll.register(listener, selectors.EVENT_READ)
    kept = {}  # connection → bytes of a head that is not complete yet
    while True:
        for key, _ in poll.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(connection, selectors.EVENT_READ)
                kept[connection] = b""
                continue
            connection = key.fileobj
            try:
                chunk = connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                chunk = b""
            if not chunk:
                poll.unregister(connection)
                del kept[connection]
                connection.close()
                continue
            *heads, rest = (kept[connection] + chunk).split(b"\r\n\r\n")
            kept[connection] = rest
            if heads:
                connection.sendall(ANSWER * len(heads))


if __name__ == "__main__":
    serve(int(os.environ.get("PORT", "8080")))
