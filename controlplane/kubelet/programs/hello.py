"""`image: demo://hello`: answers every request with "Hello $TARGET!", ready within milliseconds of its start.

Path: kubelet/images.py → [hello process] ← requests.

One thread and an epoll set: importing http.server would take longer than everything else it does.
"""

import os
import select
import signal
import socket

HEAD_BYTES_MAX = 64 << 10
IDLE = select.EPOLLIN | select.EPOLLRDHUP


class Connection:
    """`body_left`: bytes of a request body still to skip."""

    __slots__ = ("socket", "received", "body_left")

    def __init__(self, one: socket.socket) -> None:
        self.socket = one
        self.received = bytearray()
        self.body_left = 0

    def read(self, answer: bytes, bare: bytes) -> bool:
        """False when the connection is over."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self.received += data
        while True:
            skipped = min(self.body_left, len(self.received))
            del self.received[:skipped]
            self.body_left -= skipped
            end = self.received.find(b"\r\n\r\n")
            if self.body_left or end < 0:
                return len(self.received) <= HEAD_BYTES_MAX
            lines = bytes(self.received[:end]).split(b"\r\n")
            del self.received[: end + 4]
            fields = {}
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                fields[name.strip().lower()] = value.strip().lower()
            last = b"transfer-encoding" in fields or fields.get(b"connection") == b"close" or b"HTTP/1.0" in lines[0]
            length = fields.get(b"content-length", b"0")
            self.body_left = int(length) if length.isdigit() else 0
            reply = bare if lines[0].startswith(b"HEAD ") else answer
            if last:
                reply = reply.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            try:
                self.socket.sendall(reply)
            except OSError:
                return False
            if last:
                return False


def main() -> None:
    body = f"Hello {os.environ.get('TARGET', 'World')}!\n".encode()
    bare = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", int(os.environ.get("PORT", "8080"))))
    listener.listen(1024)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    connections: dict[int, Connection] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                try:
                    one, _ = listener.accept()
                except OSError:
                    continue
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.setblocking(False)
                connections[one.fileno()] = Connection(one)
                poll.register(one, IDLE)
            elif not connections[fd].read(bare + body, bare):
                poll.unregister(fd)
                connections.pop(fd).socket.close()


if __name__ == "__main__":
    main()
