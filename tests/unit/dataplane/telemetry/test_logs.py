import io
import json
import logging
import threading

import pytest

from dataplane.telemetry.logs import QUEUE_LINES_MAX, JsonLines, Logs, Redacted, TextLines
from dataplane.telemetry.metrics import Registry


def _record(message: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("gateway.accept", level, "/x/accept.py", 42, message, args, None)


def test_a_json_line_carries_knatives_keys() -> None:
    line = json.loads(JsonLines().format(_record("listening port=%d", 8080)))
    assert line["severity"] == "INFO"
    assert line["logger"] == "gateway.accept"
    assert line["caller"] == "accept.py:42"
    assert line["message"] == "listening port=8080"
    assert line["timestamp"].endswith("+00:00")


def test_a_lone_surrogate_from_a_peer_does_not_break_the_line() -> None:
    assert json.loads(JsonLines().format(_record("host=%s", "a\udcffb")))["message"] == "host=a?b"


def test_control_characters_are_escaped_in_text_so_a_peer_cannot_forge_a_line() -> None:
    line = TextLines(colour=False).format(_record("host=%s", "evil\nERROR fake\x1b[2J"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert "evil\\nERROR" in line


def test_without_a_terminal_lines_are_json_and_close_writes_them_all() -> None:
    stream = io.StringIO()
    logs = Logs(level="info", format_="auto", stream=stream, registry=Registry())
    for number in range(100):
        logging.getLogger("x").info("event n=%d", number)
    logging.getLogger("x").debug("hidden")
    logs.close()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages == [f"event n={number}" for number in range(100)]


def test_an_exception_is_written_with_its_stack() -> None:
    stream = io.StringIO()
    logs = Logs(level="info", format_="json", stream=stream, registry=Registry())
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    logs.close()
    assert "RuntimeError: boom" in json.loads(stream.getvalue())["stacktrace"]


class _Stuck(io.StringIO):
    """A pipe that nobody reads until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def write(self, text: str) -> int:
        self.free.wait()
        return super().write(text)


def test_a_stream_that_blocks_costs_lines_and_counts_them_never_the_caller() -> None:
    stream, registry = _Stuck(), Registry()
    logs = Logs(level="info", format_="text", stream=stream, registry=registry)
    for _ in range(QUEUE_LINES_MAX + 50):
        logging.getLogger("x").info("event")
    dropped = registry.counter("dataplane_log_lines_dropped_total", "").cell().v
    assert 49 <= dropped <= 50
    stream.free.set()
    logs.close()


def test_an_unknown_level_says_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="expected debug, info, warning or error"):
        Logs(level="loud", format_="text", stream=io.StringIO(), registry=Registry())


def test_a_secret_never_prints_itself() -> None:
    secret = Redacted("hunter2")
    assert f"{secret} {secret!r} {secret!s} {[secret]} {secret:>5}" == "*** *** *** [***]   ***"
    assert secret.reveal() == "hunter2"
    with pytest.raises(TypeError):
        secret.__reduce__()
