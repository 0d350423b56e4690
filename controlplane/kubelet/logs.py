"""The logs of containers, as the driver wrote them, for `kubectl logs`.

Path: drivers/nursery/output.py → files → [logs] → api/logs.py.

Lines carry a stamp of fixed width that is cut off here unless it is asked for. A follower goes on through rotation and
restarts, and ends when the pod's folder is gone.

Source: spec/serving.md §12.5; Kubernetes' pod log options.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

from controlplane.drivers.nursery.output import STAMP_BYTES
from dataplane.clock import Clock, rfc3339_micro

CHUNK_BYTES = 64 << 10
LINE_BYTES_MAX = 1 << 20  # a longer one is sent in pieces
POLL_S = 0.1


class LogFiles:
    """`folder`: NAMESPACE/POD/CONTAINER.log, with .1 (rotated) and .previous (the run before) beside it."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    async def read(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since_s: float | None = None,
        previous: bool = False,
        timestamps: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Whole lines, oldest first. Raises LookupError when there is no such log."""
        path = self._folder / namespace / pod / f"{container}.log"
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise LookupError(f"no log of container {container}")
        since = rfc3339_micro(self._clock.wall() - since_s).encode() if since_s is not None else b""
        if previous:
            path = path.with_name(path.name + ".previous")
            if not path.exists():
                raise LookupError(f'previous terminated container "{container}" in pod "{pod}" not found')
        elif not path.exists() and not (follow and path.parent.exists()):
            raise LookupError(f'container "{container}" in pod "{pod}" is waiting to start: no log yet')
        async for piece in self._read(path, follow and not previous, tail_lines, Cutter(since, stamps=timestamps)):
            yield piece

    async def _read(
        self, path: Path, follow: bool, tail_lines: int | None, cut: "Cutter"
    ) -> AsyncGenerator[bytes, None]:
        older = path.with_name(path.name + ".1")
        files = [one for one in (older, path) if one.exists()]
        starts = _tail(files, tail_lines)
        file: BinaryIO | None = None
        try:
            for one, start in zip(files, starts, strict=True):
                if file is not None:
                    file.close()
                try:
                    file = one.open("rb")
                except FileNotFoundError:
                    continue
                file.seek(start)
                while data := file.read(CHUNK_BYTES):
                    if lines := cut.feed(data):
                        yield lines
                    await asyncio.sleep(0)
            while follow:
                data = file.read(CHUNK_BYTES) if file is not None else b""
                if data:
                    if lines := cut.feed(data):
                        yield lines
                    continue
                if file is None or _replaced(file, path):
                    fresh = _open(path)
                    if fresh is not None:
                        if file is not None:
                            rest = file.read()
                            file.close()
                            if lines := cut.feed(rest) + cut.end():
                                yield lines
                        file = fresh
                        continue
                    if not path.parent.exists():
                        break
                await asyncio.sleep(POLL_S)
            if lines := cut.end():
                yield lines
        finally:
            if file is not None:
                file.close()


class Cutter:
    """Stamped bytes in any cut → lines without stamps (or with: `stamps`), from `since` (a stamp) on."""

    __slots__ = ("_rest", "_since", "_skip")

    def __init__(self, since: bytes = b"", *, stamps: bool = False) -> None:
        self._rest = b""
        self._since = since
        self._skip = 0 if stamps else STAMP_BYTES

    def feed(self, data: bytes) -> bytes:
        *lines, self._rest = (self._rest + data).split(b"\n")
        out = b"".join(line[self._skip :] + b"\n" for line in lines if line >= self._since)
        if len(self._rest) > LINE_BYTES_MAX:
            out += self._rest[self._skip :]
            self._rest = self._rest[:STAMP_BYTES]
        return out

    def end(self) -> bytes:
        """A last line without a newline."""
        rest, self._rest = self._rest, b""
        return rest[self._skip :] if rest >= self._since else b""


def _tail(files: list[Path], lines: int | None) -> list[int]:
    """Where to start in each file so that the last `lines` lines of all of them follow."""
    if lines is None:
        return [0] * len(files)
    starts = []
    for path in reversed(files):
        size = path.stat().st_size
        if lines <= 0:
            starts.append(size)
            continue
        with path.open("rb") as file:
            position = size
            found = 0
            start = 0
            while position > 0 and found <= lines:
                step = min(CHUNK_BYTES, position)
                position -= step
                file.seek(position)
                block = file.read(step)
                if position + step == size and block.endswith(b"\n"):
                    block = block[:-1]
                count = block.count(b"\n")
                if found + count >= lines:
                    at = len(block)
                    for _ in range(lines - found):
                        at = block.rfind(b"\n", 0, at)
                    start = position + at + 1
                    found = lines + 1
                    break
                found += count
            starts.append(start)
            lines = 0 if found > lines else lines - found - (1 if size else 0)
    return starts[::-1]


def _replaced(file: BinaryIO, path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except OSError:
        return True
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except OSError:
        return None
