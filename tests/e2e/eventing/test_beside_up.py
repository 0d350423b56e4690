"""A broker process of its own beside `up` delivers to Services of `up`, whose names no DNS knows."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import EXAMPLES, Start


def test_a_second_process_reaches_services_by_their_cluster_local_names(start: Start, tmp_path: Path) -> None:
    up = start(images=EXAMPLES / "events" / "images.yaml")
    up.apply("events/orders.yaml")
    up.ready("broker/default", "trigger/bill", "trigger/book", "ksvc/billing", "ksvc/books")
    dataplane = [sys.executable, "-m", "launch"]
    control = ["--control", up.api, "--token-file", str(up.data / "token"), "--http", "127.0.0.1:0"]
    beside = subprocess.Popen(
        [*dataplane, "broker", *control, "--data", str(tmp_path / "beside")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert beside.stdout is not None
        assert beside.stdout.readline().startswith("ready ")

        def run(*arguments: str) -> str:
            line = [*dataplane, *arguments, "--data", str(tmp_path / "beside")]
            return subprocess.run(line, capture_output=True, text=True, timeout=60).stdout

        assert "accepted" in run("send", "broker/default", "--type", "dev.example.note", "--id", "n")
        told = up.eventually(
            lambda: (
                (out := run("events", "trace", "broker/default", "n")) and ("failed" in out or "code=" in out) and out
            ),
            "it was tried",
        )
        assert "code=204" in str(told)
    finally:
        beside.terminate()
        assert beside.wait(30) == 0
        assert beside.stdout is not None
        beside.stdout.close()
