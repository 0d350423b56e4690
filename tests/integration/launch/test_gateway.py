"""`dataplane gateway` as a process of its own, fed by a watched file."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _routes(port: int) -> str:
    return f"""
routes:
  default/hello:
    rules:
      - hosts: [hello.default.localhost]
        paths: [{{splits: [{{revision: default/r, percent: 100}}]}}]
revisions:
  default/r: {{endpoints: [{{id: "{port}", address: "127.0.0.1:{port}"}}]}}
"""


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def test_GW_33_a_watched_file_is_served_replaced_and_refused_when_it_is_wrong(
    start: Callable[..., Any], pod: Callable[[str], int], tmp_path: Path
) -> None:
    one, two = pod("one"), pod("two")
    file = tmp_path / "routes.yaml"
    _write(file, _routes(one))
    gateway = start("gateway", "--snapshot", str(file), "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    assert gateway.ask("hello.default.localhost:99").body == "one"
    assert gateway.ask("other.default.localhost").status == 404
    _write(file, _routes(two))
    gateway.until(lambda: gateway.ask("hello.default.localhost").body == "two")
    _write(file, _routes(one).replace("percent: 100", "percent: 99"))
    gateway.until(lambda: "percents sum to 99, expected 100" in gateway.said())
    assert gateway.ask("hello.default.localhost").body == "two"
    assert gateway.stop() == 0


def test_sighup_reads_the_file_again(start: Callable[..., Any], pod: Callable[[str], int], tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    _write(file, _routes(pod("one")))
    gateway = start("gateway", "--snapshot", str(file), "--http", "127.0.0.1:0", "--admin", "")
    _write(file, _routes(pod("two")))
    gateway.process.send_signal(signal.SIGHUP)
    gateway.until(lambda: gateway.ask("hello.default.localhost").body == "two")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--control URL or --snapshot FILE"),
        (("--snapshot", "none.yaml", "--http", "127.0.0.1:0"), 1, "error: none.yaml: No such file or directory"),
        (("--snapshot", "x", "--http", "nowhere"), 1, "--http: address 'nowhere': expected HOST:PORT"),
        (("--snapshot", "x", "--set", "gateway.idle=3"), 1, 'did you mean "gateway.idle_timeout_s"'),
        (("--control", "http://127.0.0.1:9", "--token-file", "none"), 1, "--token-file none: No such file"),
    ],
)
def test_what_is_wrong_is_told_before_anything_listens(
    dataplane: Callable[..., Any], arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = dataplane("gateway", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_a_port_that_is_taken_is_named(
    dataplane: Callable[..., Any], pod: Callable[[str], int], tmp_path: Path
) -> None:
    taken = pod("here first")
    _write(tmp_path / "routes.yaml", _routes(taken))
    done = dataplane("gateway", "--snapshot", "routes.yaml", "--http", f"127.0.0.1:{taken}", "--admin", "")
    assert done.returncode == 1
    assert str(taken) in done.stderr
    assert "in use" in done.stderr
