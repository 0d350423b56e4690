"""Real `dataplane` processes on free ports."""

import http.client
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]


class Answer(NamedTuple):
    status: int
    body: str
    headers: dict[str, str]


class Program:
    """One `dataplane ARGUMENTS` that prints a ready line."""

    def __init__(self, arguments: list[str], log: Path, environ: dict[str, str]) -> None:
        self.log = log
        with log.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launch", *arguments],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env=environ,
                cwd=log.parent,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), f"{line!r}\n{self.said()}"
        self.ready = dict(word.split("=", 1) for word in line.split()[1:])

    def port(self, name: str) -> int:
        return int(self.ready[name].rsplit(":", 1)[1])

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def ask(self, host: str, path: str = "/", name: str = "http", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port(name), timeout=30)
        try:
            connection.request("GET", path, headers={"Host": host, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()

    def until(self, what: Callable[[], object], within_s: float = 30) -> object:
        deadline = time.monotonic() + within_s
        while not (found := what()):
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


Start = Callable[..., Program]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DATAPLANE_") and k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path / "no-config")}


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str]) -> Iterator[Start]:
    running: list[Program] = []

    def start(*arguments: str) -> Program:
        program = Program(list(arguments), tmp_path / f"log-{len(running)}", environ)
        running.append(program)
        return program

    yield start
    for program in reversed(running):
        program.stop()


@pytest.fixture
def dataplane(environ: dict[str, str], tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs one client command to its end."""

    def run(*arguments: str, stdin: str | None = None, **extra: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "launch", *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            env=environ | extra,
            cwd=tmp_path,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def pod() -> Iterator[Callable[[str], int]]:
    """Starts HTTP servers in this process that answer with a text; gives their ports."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def make(text: str) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()
