"""Signals and exit codes, in real processes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import asyncio, sys
from dataplane.errors import ConfigFault
from dataplane.runtime.process import Lifecycle, run

def say(*words):
    print(*words, flush=True)

def step(name):
    async def stop():
        say("stop", name)
    return stop
"""


def _start(tmp_path: Path, body: str) -> "subprocess.Popen[str]":
    script = tmp_path / "main.py"
    script.write_text(HEAD + body + "\nsys.exit(run(compose))\n")
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    )


def _until_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


STEADY = """
async def compose(life):
    life.on_stop("store", step("store"))
    life.on_stop("listener", step("listener"))
    life.on_reload(lambda: say("reload"))
    say("ready")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_reverse_order_and_exits_0(tmp_path: Path, number: signal.Signals) -> None:
    process = _start(tmp_path, STEADY)
    _until_ready(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out.splitlines() == ["stop listener", "stop store"]
    assert (process.returncode, err) == (0, "")


def test_sighup_reloads_and_does_not_end(tmp_path: Path) -> None:
    process = _start(tmp_path, STEADY)
    _until_ready(process)
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert process.stdout.readline() == "reload\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    process = _start(
        tmp_path,
        """
async def compose(life):
    async def slow():
        say("draining")
        await asyncio.sleep(60)
    life.on_stop("listener", slow, within_s=60)
    say("ready")
""",
    )
    _until_ready(process)
    process.terminate()
    assert process.stdout is not None
    assert process.stdout.readline() == "draining\n"
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "without a drain" in err


def test_a_config_fault_or_a_taken_port_is_told_in_words_and_what_had_started_is_stopped(tmp_path: Path) -> None:
    process = _start(
        tmp_path,
        """
async def compose(life):
    life.on_stop("store", step("store"))
    raise ConfigFault("a.yaml:1: wrong\\nb.yaml:2: also wrong")
""",
    )
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "stop store\n")
    assert err == "error: a.yaml:1: wrong\nerror: b.yaml:2: also wrong\n"


def test_a_signal_during_the_start_ends_it_and_exits_0(tmp_path: Path) -> None:
    process = _start(
        tmp_path,
        """
async def compose(life):
    life.on_stop("store", step("store"))
    say("ready")
    await asyncio.sleep(60)
""",
    )
    _until_ready(process)
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "stop store\n", "")


def test_a_step_that_fails_or_hangs_does_not_keep_the_others_from_stopping(tmp_path: Path) -> None:
    process = _start(
        tmp_path,
        """
async def compose(life):
    life.on_stop("store", step("store"))
    async def hang():
        await asyncio.sleep(60)
    async def fail():
        raise RuntimeError("boom")
    life.on_stop("hangs", hang, within_s=0.05)
    life.on_stop("fails", fail)
    life.end("lost the store")
""",
    )
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "stop store\n")
    assert "error: lost the store" in err
    assert "boom" in err


def test_a_programming_error_at_the_start_exits_1_with_its_stack(tmp_path: Path) -> None:
    process = _start(tmp_path, "async def compose(life):\n    raise KeyError('x')\n")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "internal error: KeyError('x')" in err


def test_what_nobody_caught_is_logged_without_what_it_was_called_with(tmp_path: Path) -> None:
    process = _start(
        tmp_path,
        """
async def compose(life):
    def callback(payload):
        raise KeyError("why")
    asyncio.get_running_loop().call_soon(callback, "payload of somebody")
    asyncio.get_running_loop().call_later(0.01, life.end)
""",
    )
    _, err = process.communicate(timeout=20)
    assert "uncaught" in err
    assert "KeyError: 'why'" in err
    assert "payload of somebody" not in err
