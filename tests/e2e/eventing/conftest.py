"""A `dataplane broker` of its own, from a snapshot file, that may be killed at any moment."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
READY_S = 60.0


class BrokerProcess:
    """`dataplane broker --snapshot …` on a fixed port. `kill` is kill -9; `start` may follow."""

    def __init__(self, folder: Path, snapshot: str, *arguments: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.snapshot = folder / "brokers.yaml"
        self.snapshot.write_text(snapshot)
        self.arguments = arguments
        self.log = folder / "broker.log"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it says that it is ready."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {
            "PYTHONPATH": str(ROOT)
        }
        line = [
            sys.executable,
            "-m",
            "launch",
            "broker",
            "--snapshot",
            str(self.snapshot),
            "--data",
            str(self.folder / "data"),
        ]
        line += ["--http", f"127.0.0.1:{self.port}", "--admin", "127.0.0.1:0", *self.arguments]
        with self.log.open("ab") as err:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, env=environment, cwd=self.folder
            )
        assert self.process.stdout is not None
        ready = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), READY_S)
        assert ready.startswith(b"ready "), f"{ready!r}\n{self.tail()}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._reap()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(asyncio.to_thread(self.process.wait), 60)
        self._reap()
        return code

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def rss_bytes(self) -> int:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def _reap(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.wait()
        self.process.stdout.close()
        self.process = None


@pytest.fixture
async def broker_process(tmp_path: Path) -> AsyncIterator[object]:
    """`broker_process(snapshot, *arguments)` → a started BrokerProcess."""
    made: list[BrokerProcess] = []

    async def make(snapshot: str, *arguments: str) -> BrokerProcess:
        folder = tmp_path / f"broker-{len(made)}"
        folder.mkdir()
        one = BrokerProcess(folder, snapshot, *arguments)
        made.append(one)
        await one.start()
        return one

    yield make
    for one in made:
        if one.process is not None:
            one.kill()


async def command(process: BrokerProcess, *arguments: str, fails: bool = False) -> str:
    """What `dataplane` prints when it finds that process by its `--data`."""
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "launch",
        *arguments,
        "--data",
        str(process.folder / "data"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await run.communicate()
    assert (run.returncode != 0) == fails, out
    return out.decode()
