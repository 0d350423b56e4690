"""A real Redis of our own on a free port: started, killed and started again as a test likes.

Needs `redis-server` 7.0 or later (Debian: `apt-get install redis-server`). A developer without it gets a skip that says
so; with CI=true its absence is a failure.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

BINARY = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
START_S = 20.0


def required() -> str:
    """The binary; skips or fails where there is none."""
    if BINARY:
        return BINARY
    reason = "redis-server is not installed (Debian: apt-get install redis-server; or REDIS_SERVER=path)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class RedisServer:
    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options or ("--appendonly", "yes", "--appendfsync", "always")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen | None = None

    def start(self, *, wait: bool = True) -> "RedisServer":
        self.folder.mkdir(parents=True, exist_ok=True)
        common = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "")
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen([required(), *common, *self.options], stdout=out, stderr=out)
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        deadline = time.monotonic() + START_S
        while self.ask("PING") != b"+PONG\r\n":
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def ask(self, *words: str) -> bytes:
        """One command by hand, its raw answer; nothing of the code under test is used."""
        packed = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(packed.encode())
                return connection.recv(1 << 20)
        except OSError as error:
            return str(error).encode()

    def set(self, name: str, value: str) -> None:
        assert self.ask("CONFIG", "SET", name, value) == b"+OK\r\n"

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None


def running(folder: Path, *options: str) -> Iterator[RedisServer]:
    """For a fixture: one of the test's own."""
    server = RedisServer(folder, *options).start()
    try:
        yield server
    finally:
        server.kill()


_shared: RedisServer | None = None


def shared() -> RedisServer:
    """One for this process of the tests (each worker of xdist has its own), emptied. Do not kill it."""
    global _shared
    if _shared is None:
        required()
        folder = Path(tempfile.mkdtemp(prefix="redis-"))
        _shared = RedisServer(folder).start()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(_shared.kill)
    assert _shared.ask("FLUSHALL") == b"+OK\r\n"
    return _shared
