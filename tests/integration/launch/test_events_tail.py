"""`dataplane events tail` against a real instance: it shows what happens, and says when nobody is there any more."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.launch.conftest import Program

BROKER = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n"


@pytest.fixture
def instance(start: Callable[..., Program], tmp_path: Path) -> Program:
    (tmp_path / "broker.yaml").write_text(BROKER)
    addresses = ("--http", "127.0.0.1:0", "--api", "127.0.0.1:0")
    return start("up", "--in-memory", "--data", "data", "-f", "broker.yaml", *addresses)


@pytest.fixture
def tail(instance: Program, environ: dict[str, str], tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """It has printed its first line."""
    environ["DATAPLANE_DATA"] = str(tmp_path / "data")
    launch = [sys.executable, "-m", "launch"]
    subprocess.run([*launch, "send", "broker/default", "--type", "t"], env=environ, check=True, capture_output=True)
    following = subprocess.Popen(
        [*launch, "events", "tail", "broker/default"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, cwd=tmp_path,
    )  # fmt: skip
    assert following.stdout is not None
    assert "accepted" in following.stdout.readline()
    yield following
    following.kill()
    following.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_fails_with_a_sentence_when_the_instance_goes_away(
    instance: Program, tail: "subprocess.Popen[str]", how: int
) -> None:
    instance.stop(how)
    _, said = tail.communicate(timeout=30)
    assert (tail.returncode, said) == (1, "error: the instance has gone away\n")


def test_it_ends_without_a_word_when_who_follows_wants_no_more(tail: "subprocess.Popen[str]") -> None:
    tail.send_signal(signal.SIGINT)
    _, said = tail.communicate(timeout=30)
    assert (tail.returncode, said.strip()) == (130, "")
