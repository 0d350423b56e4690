"""Log lines that never hold up the loop: formatted by a writer thread, bounded, dropped with a count.

Path: every module logs with stdlib logging (`log.info("event_name key=%s", value)`) → [queue] → thread → stderr.

On a terminal a line is text for people; otherwise one JSON object with Knative's keys (severity, timestamp, logger,
caller, message). A full queue drops the newest line and counts it: a blocked pipe costs lines, never requests.

Source: design/ecosystem.md §1.12.
"""

import datetime
import logging
import logging.handlers
import os
import queue
import threading
from typing import Literal, TextIO

import orjson

from dataplane.telemetry.metrics import Registry

QUEUE_LINES_MAX = 10_000
_DRAIN_S = 2.0  # at exit: a reader that no longer reads must not keep the process
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31;1m"}

Format = Literal["auto", "text", "json"]
Lines = queue.Queue[logging.LogRecord | None]  # None: the end


class Redacted:
    """A secret that every way of printing shows as `***`. `reveal()` is the one way to the text: easy to search for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redacted) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class JsonLines(logging.Formatter):
    """One JSON object per line, Knative's keys. Anything that is not text is replaced, never raised on."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "severity": record.levelname,
            "timestamp": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "logger": record.name,
            "caller": f"{record.filename}:{record.lineno}",
            "message": record.getMessage(),
        }
        if record.exc_text or record.exc_info:
            line["stacktrace"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        try:
            return orjson.dumps(line).decode()
        except TypeError:  # lone surrogates: a byte of a peer's that is not UTF-8
            line = {k: str(v).encode("utf-8", "replace").decode() for k, v in line.items()}
            return orjson.dumps(line).decode()


class TextLines(logging.Formatter):
    """`15:04:05.123 INFO  gateway.accept: event key=value`, control characters escaped (a log is not a terminal)."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        message = record.getMessage()
        if not message.isprintable():
            message = message.encode("unicode_escape").decode()
        line = f"{at} {record.levelname:<7} {record.name}: {message}"
        if self._colour and record.levelname in _COLOURS:
            line = f"{_COLOURS[record.levelname]}{line}\x1b[0m"
        if record.exc_text or record.exc_info:
            line += "\n" + (record.exc_text or self.formatException(record.exc_info))  # type: ignore[arg-type]
        return line


class _Bounded(logging.handlers.QueueHandler):
    """Puts without waiting; what does not fit is counted."""

    def __init__(self, lines: Lines, registry: Registry) -> None:
        super().__init__(lines)
        self._dropped = registry.counter(
            "dataplane_log_lines_dropped_total", "Log lines that the writer thread could not take in time."
        ).cell()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # The message is merged now, because arguments may change later; layout is the thread's work.
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._dropped.v += 1


class Logs:
    """The process's log set-up; `close` writes what is queued (for at most two seconds) and restores what was before.

    level: a stdlib name (debug, info, warning, error), any case. format "auto": text when `stream` is a terminal.
    Raises ValueError on an unknown level.
    """

    def __init__(self, *, level: str, format_: Format, stream: TextIO, registry: Registry) -> None:
        number = logging.getLevelNamesMapping().get(level.upper())
        if number is None:
            raise ValueError(f"log level {level!r}: expected debug, info, warning or error")
        terminal = stream.isatty()
        lines: Lines = queue.Queue(QUEUE_LINES_MAX)
        out = logging.StreamHandler(stream)
        if format_ == "json" or (format_ == "auto" and not terminal):
            out.setFormatter(JsonLines())
        else:
            out.setFormatter(TextLines(colour=terminal and "NO_COLOR" not in os.environ))
        self._lines, self._out = lines, out
        self._handler = _Bounded(lines, registry)
        self._thread = threading.Thread(target=self._write, name="logs", daemon=True)
        root = logging.getLogger()
        self._before = (root.level, root.handlers[:])
        root.handlers[:] = [self._handler]
        root.setLevel(number)
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
        logging.getLogger("asyncio").setLevel(max(number, logging.WARNING))
        self._thread.start()

    def close(self) -> None:
        root = logging.getLogger()
        level, handlers = self._before
        root.handlers[:] = handlers
        root.setLevel(level)
        try:
            self._lines.put(None, timeout=_DRAIN_S)
        except queue.Full:
            return  # nobody reads the stream; the thread is a daemon
        self._thread.join(_DRAIN_S)

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            self._out.handle(record)
