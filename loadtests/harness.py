"""What every benchmark needs: processes under test, their CPU and memory from /proc, wrk, and a results file.

CPU per request (user + system time of the processes under test, from the kernel's accounting) is the figure to trust
on a shared machine; requests per second and latencies move with the neighbours, so subjects are driven in turn, round
by round, and compared as ratios within a round.
"""

import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TICKS = os.sysconf("SC_CLK_TCK")
HOST = "bench.default.localhost"
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-US,en;q=0.9",
    "Cache-Control: no-cache",
    "Cookie: session=abcdef0123456789abcdef; theme=dark",
    "Referer: http://example.com/",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "X-Request-Id: 6f0a1b2c-3d4e-5f60-7182-93a4b5c6d7e8",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)  # and Host: 12 in all


class Failed(Exception):
    """A subject did not start, or wrk finished nothing. The text says which, with the end of its log."""


class Subject:
    """A running process under test. Its cost includes its children; with `hops_only` gateways, not pods."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], log: Path, *, hops_only: bool) -> None:
        self.name, self.port, self.process, self.log, self.hops_only = name, port, process, log, hops_only

    def pids(self) -> list[int]:
        below = descendants(self.process.pid)
        return [self.process.pid, *(pid for pid in below if not self.hops_only or _is_gateway(pid))]

    def cpu_s(self) -> float:
        return sum(_cpu_s(pid) for pid in self.pids())

    def rss_bytes(self) -> int:
        return sum(_rss_bytes(pid) for pid in self.pids())


class Bench:
    """One run: owns every process and the working folder; both are gone after `with`."""

    def __init__(self, *, rounds: int, seconds: int) -> None:
        self.rounds, self.seconds = rounds, seconds
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.rows: list[dict[str, Any]] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        hops_only: bool = False,
        env: dict[str, str] | None = None,
        ready: Callable[[subprocess.Popen[bytes]], int] | None = None,
    ) -> Subject:
        """Starts `command` and waits until `port` answers, or until `ready` has found out the port itself."""
        log = self.folder / f"{name}-{len(self._processes)}.log"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | (env or {})
        environment["PATH"] = f"{Path(sys.executable).parent}:/usr/sbin:{environment.get('PATH', '')}"
        with log.open("wb") as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if ready else err,
                stderr=err,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        self._processes.append(process)
        try:
            port = ready(process) if ready else _await_port(process, port)
        except Failed as failure:
            raise Failed(f"{name}: {failure}; its log ends:\n{_tail(log)}") from None
        return Subject(name, port, process, log, hops_only=hops_only)

    def stop(self, *subjects: Subject) -> None:
        """Ends the given subjects, or everything, and waits for it."""
        chosen = [s.process for s in subjects] or self._processes[::-1]
        for process in chosen:
            if process.poll() is None:
                process.terminate()
        for process in chosen:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout:
                process.stdout.close()
        self._processes = [p for p in self._processes if p not in chosen]

    def record(self, scenario: str, subject: str, **figures: Any) -> None:
        self.rows.append({"scenario": scenario, "subject": subject, **figures})

    def save(self) -> Path:
        """Appends every row with what it was measured on to results/<machine>.jsonl."""
        about = machine()
        path = HERE / "results" / f"{about.pop('machine')}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as out:
            for row in self.rows:
                out.write(json.dumps({**about, **row}, separators=(",", ":")) + "\n")
        return path


def drive(
    subject: Subject, *, connections: int, seconds: int, host: str = HOST, path: str = "/", varied: bool = False
) -> dict[str, float]:
    """wrk against a subject: cpu_us per request, rps, latencies in µs, errors. `varied`: no two requests alike."""
    script = HERE / ("varied.lua" if varied else "quantiles.lua")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    for header in (f"Host: {host}", *BROWSER):
        command += ["-H", header]
    before = subject.cpu_s()
    run = subprocess.run(
        [*command, f"http://127.0.0.1:{subject.port}{path}"], capture_output=True, text=True, check=False
    )
    used = subject.cpu_s() - before
    last = run.stdout.strip().rpartition("\n")[2]
    if run.returncode or not last.startswith("{"):
        raise Failed(f"{subject.name}: wrk failed: {run.stdout[-300:]}{run.stderr[-300:]}")
    raw = json.loads(last)
    requests = raw.pop("requests")
    if not requests:
        raise Failed(f"{subject.name}: wrk finished no request; the log ends:\n{_tail(subject.log)}")
    errors = sum(raw.pop(f"{kind}_errors") for kind in ("connect", "read", "write", "status")) + raw.pop("timeouts")
    duration_s = raw.pop("duration_us") / 1e6
    return {
        "cpu_us": used / requests * 1e6,
        "rps": requests / duration_s,
        "requests": requests,
        "errors": errors,
        **raw,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """min, median and max: no figure is reported without its noise."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The raw quantiles of a set of latencies, in the unit they came in."""
    ordered = sorted(values)
    at = {
        f"p{q:g}".replace(".", ""): ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))]
        for q in (50, 90, 99, 99.9)
    }
    return {"min": ordered[0], **at, "max": ordered[-1]}


def verdict(name: str, value: float, limit: float, unit: str, *, least: bool = False) -> None:
    """Prints one target and whether it was met. Nothing fails: a benchmark is read by people. least: `limit` is."""
    met, sign = (value >= limit, "≥") if least else (value <= limit, "≤")
    print(f"  {'met   ' if met else 'MISSED'} {name}: {value:.2f} {unit} (target {sign} {limit:g})", flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text().split()]
                found += children
                todo += children
    return found


def machine() -> dict[str, Any]:
    """What a figure was measured on: commit, CPU, cores, kernel, Python, time."""
    cpu = "unknown"
    with suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        cpu = match[1] if match else cpu
    cores = os.cpu_count()
    changed = _git("status", "--porcelain", "--untracked=no", "--", ".", ":!loadtests/results")
    return {
        "machine": re.sub(r"[^a-z0-9]+", "-", f"{cpu} x{cores}".lower()).strip("-"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if changed else ""),
        "cpu": cpu,
        "cores": cores,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    ).stdout.strip()


def _await_port(process: subprocess.Popen[bytes], port: int) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"ended with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return port
        time.sleep(0.02)
    raise Failed(f"port {port} does not answer after 20 s")


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _is_gateway(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return b"launch\0gateway\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _rss_bytes(pid: int) -> int:
    try:
        match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(match[1]) * 1024 if match else 0


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]
