"""Gateway processes that share one port: `dataplane up --workers N`.

Path: all_in_one → [workers] → N × `python -m launch gateway --control …`, the kernel spreads connections over them.

A worker is replaced when it dies. It ends when this process does, however that ended: it holds the reading end of a
pipe (its lifeline) whose writing end nobody else has.

Source: performance.md P3; reliability.md GW-35.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks

log = logging.getLogger(__name__)

START_S = 30.0
_AGAIN_FIRST_S, _AGAIN_MAX_S, _HEALTHY_S = 0.2, 10.0, 30.0
_ROOT = str(Path(__file__).resolve().parents[1])


class Workers:
    """`arguments`: of `dataplane gateway`, the same for each worker."""

    def __init__(self, *, count: int, arguments: tuple[str, ...], tasks: Tasks) -> None:
        self._count = count
        self._arguments = arguments
        self._tasks = tasks
        self._lifeline, self._held = os.pipe()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._empty = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Returns when each has said that it is ready. Raises ConfigFault when one does not."""
        first = [asyncio.get_running_loop().create_future() for _ in range(self._count)]
        for number, ready in enumerate(first):
            self._tasks.spawn(self._keep(number, ready), f"worker-{number}")
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + START_S):
                await asyncio.gather(*first)
        except TimeoutError:
            raise ConfigFault(f"a gateway worker was not ready within {START_S:g} s") from None

    async def stop(self) -> None:
        """SIGTERM: each drains. Returns when the last one has ended."""
        self._stopping = True
        for worker in self._running:
            worker.terminate()
        if self._running:
            await self._empty.wait()
        os.close(self._held)
        os.close(self._lifeline)

    def not_ready(self) -> str:
        missing = self._count - len(self._running)
        return f"{missing} of {self._count} gateway workers are away" if missing else ""

    async def _keep(self, number: int, ready: "asyncio.Future[None]") -> None:
        loop = asyncio.get_running_loop()
        wait_s = _AGAIN_FIRST_S
        while not self._stopping:
            started = loop.time()
            await self._one(number, ready)
            if self._stopping:
                return
            wait_s = _AGAIN_FIRST_S if loop.time() - started > _HEALTHY_S else min(wait_s * 2, _AGAIN_MAX_S)
            log.error("gateway_worker_died worker=%d again_in_s=%s", number, wait_s)
            await asyncio.sleep(wait_s)

    async def _one(self, number: int, ready: "asyncio.Future[None]") -> None:
        """One life of one worker. The end of its output is the end of it."""
        worker = await asyncio.to_thread(self._spawn)
        self._running.add(worker)
        if self._stopping:
            worker.terminate()
        assert worker.stdout is not None
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), worker.stdout)
        try:
            while line := await reader.readline():
                if line.startswith(b"ready "):
                    log.info("gateway_worker_ready worker=%d pid=%d", number, worker.pid)
                    if not ready.done():
                        ready.set_result(None)
            code = await asyncio.to_thread(worker.wait)
            if not ready.done() and not self._stopping:
                ready.set_exception(
                    ConfigFault(f"gateway worker {number} ended with exit code {code}; its log says why")
                )
        finally:
            transport.close()
            self._running.discard(worker)
            if self._stopping and not self._running:
                self._empty.set()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "launch", "gateway", *self._arguments, "--lifeline", str(self._lifeline)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=(self._lifeline,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))},
            start_new_session=True,  # Ctrl-C is for the parent, which drains them in order
        )


def reserved(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: keeps the port for workers that bind with SO_REUSEPORT. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if port:  # connections of a process before us may still be in TIME_WAIT there
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return one
