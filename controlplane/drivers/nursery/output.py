"""stdout and stderr of one container → a log file of bounded size, at a bounded rate.

Path: container's pipe → [output] → log_path, log_path.1, log_path.previous → kubelet/logs.py.

Each line starts with a stamp of fixed width (STAMP_BYTES). What comes faster than the rate is moved to /dev/null inside
the kernel and counted: a flood costs neither memory nor the container's speed.

Source: reliability.md LP-06; spec/serving.md §12.5.
"""

import os
from typing import NamedTuple

from dataplane.clock import Clock, rfc3339_micro

STAMP_BYTES = 28  # "2026-11-22T10:00:00.000000Z "
CHUNK_BYTES = 64 << 10  # a pipe's default capacity
MESSAGE_BYTES, MESSAGE_LINES = 2048, 80  # FallbackToLogsOnError


class Limits(NamedTuple):
    file_bytes: int
    rate_bytes_per_s: int


class Output:
    """Of one run of a container. `pump` when the pipe is readable; `close` at the end. Never raises OSError."""

    __slots__ = (
        *("_path", "_limits", "_clock", "_read_fd", "_null_fd", "_file_fd", "_size", "_tokens", "_filled_at"),
        *("_at_line_start", "_dropped_unsaid", "dropped_bytes"),
    )

    def __init__(self, path: str, limits: Limits, clock: Clock) -> None:
        self._path = path
        self._limits = limits
        self._clock = clock
        self._read_fd = self._null_fd = self._file_fd = -1
        self._size = 0
        self._tokens = float(2 * limits.rate_bytes_per_s)
        self._filled_at = clock.monotonic()
        self._at_line_start = True
        self._dropped_unsaid = 0
        self.dropped_bytes = 0

    def open(self) -> tuple[int, int]:
        """(read end to watch, write end for the child). The log of the run before becomes `.previous`."""
        self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read_fd, False)
        self._null_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        if self._path:
            try:
                if os.path.exists(self._path):
                    os.replace(self._path, self._path + ".previous")
                if os.path.exists(self._path + ".1"):
                    os.unlink(self._path + ".1")
            except OSError:
                pass
            self._open_file()
        return self._read_fd, write_fd

    def pump(self) -> bool:
        """Take at most one chunk; False at the end of the stream."""
        now = self._clock.monotonic()
        rate = self._limits.rate_bytes_per_s
        self._tokens = min(2.0 * rate, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        try:
            if self._tokens <= 0:
                count = os.splice(self._read_fd, self._null_fd, 1 << 20, flags=os.SPLICE_F_NONBLOCK)
                self._drop(count)
                return count > 0
            chunk = os.read(self._read_fd, CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if chunk:
            self._write(chunk)
        return bool(chunk)

    def say(self, text: str) -> None:
        """A line of ours in the container's log."""
        self._put(b"" if self._at_line_start else b"\n")
        self._put(self._stamp() + text.encode() + b"\n")
        self._at_line_start = True

    def drain(self) -> None:
        """Take what is in the pipe now, at most a few chunks."""
        for _ in range(32):
            before = self._size + self.dropped_bytes
            if not self.pump() or self._size + self.dropped_bytes == before:
                return

    def tail(self) -> str:
        """The last lines, without stamps: a termination message."""
        text = _end_of(self._path)
        if len(text) < 4 * MESSAGE_BYTES:
            text = _end_of(self._path + ".1") + text
        lines = [line[STAMP_BYTES:] for line in text.split(b"\n")][-MESSAGE_LINES - 1 :]
        return b"\n".join(lines)[-MESSAGE_BYTES:].decode(errors="replace").strip("\n")

    def close(self) -> None:
        self._say_dropped()
        for fd in (self._read_fd, self._null_fd, self._file_fd):
            if fd >= 0:
                os.close(fd)
        self._read_fd = self._null_fd = self._file_fd = -1

    def _write(self, chunk: bytes) -> None:
        self._say_dropped()
        stamp = self._stamp()
        lines = chunk[:-1].replace(b"\n", b"\n" + stamp) + chunk[-1:]
        if self._at_line_start:
            lines = stamp + lines
        self._at_line_start = chunk.endswith(b"\n")
        self._put(lines)

    def _put(self, data: bytes) -> None:
        self._tokens -= len(data)
        if self._size > 0 and self._size + len(data) > self._limits.file_bytes:
            self._rotate()
        try:
            if self._file_fd >= 0:
                self._size += os.write(self._file_fd, data)
        except OSError:  # the disk is full: the container goes on, its output is counted as lost
            self._drop(len(data))

    def _drop(self, count: int) -> None:
        self.dropped_bytes += count
        self._dropped_unsaid += count

    def _say_dropped(self) -> None:
        if self._dropped_unsaid:
            count, self._dropped_unsaid = self._dropped_unsaid, 0
            self.say(f"[dataplane: {count} bytes of output dropped, over {self._limits.rate_bytes_per_s} bytes/s]")

    def _rotate(self) -> None:
        try:
            os.replace(self._path, self._path + ".1")
        except OSError:
            pass
        if self._file_fd >= 0:
            os.close(self._file_fd)
        self._open_file()

    def _open_file(self) -> None:
        self._size = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file_fd = os.open(self._path, flags, 0o600)
        except OSError:
            self._file_fd = -1

    def _stamp(self) -> bytes:
        return rfc3339_micro(self._clock.wall()).encode() + b" "


def _end_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8 * MESSAGE_BYTES))
            return file.read()
    except OSError:
        return b""
