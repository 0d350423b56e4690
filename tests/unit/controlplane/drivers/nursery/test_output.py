"""A log file of bounded size with stamped lines."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from controlplane.drivers.nursery.output import STAMP_BYTES, Limits, Output
from dataplane.clock import Clock


class Bench:
    def __init__(self, folder: Path, limits: Limits) -> None:
        self.now = 0.0
        self.path = folder / "log"
        self.output = Output(str(self.path), limits, Clock(monotonic=lambda: self.now, wall=lambda: 1e9 + self.now))
        self.read_fd, self.write_fd = self.output.open()

    def say(self, data: bytes) -> None:
        os.write(self.write_fd, data)
        self.output.pump()

    def lines(self) -> list[bytes]:
        return [line[STAMP_BYTES:] for line in self.path.read_bytes().split(b"\n")]

    def close(self) -> None:
        os.close(self.write_fd)
        self.output.close()


LARGE = Limits(file_bytes=1 << 20, rate_bytes_per_s=1 << 20)


@given(text=st.binary(max_size=500), cuts=st.lists(st.integers(0, 500), max_size=5))
def test_any_cut_of_the_output_gives_the_same_lines(tmp_path_factory, text, cuts):
    bench = Bench(tmp_path_factory.mktemp("log"), LARGE)
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    for a, b in zip(edges, edges[1:], strict=False):
        if b > a:
            bench.say(text[a:b])
    assert b"\n".join(bench.lines()) == text
    bench.close()


def test_the_end_of_the_stream_is_told(tmp_path):
    bench = Bench(tmp_path, LARGE)
    assert bench.output.pump()
    os.close(bench.write_fd)
    assert not bench.output.pump()
    bench.output.close()


def test_LP_06_over_the_rate_bytes_are_dropped_and_the_loss_is_said_once(tmp_path):
    bench = Bench(tmp_path, Limits(file_bytes=1 << 20, rate_bytes_per_s=1000))
    for _ in range(5):
        bench.say(b"x" * 999 + b"\n")
    assert bench.output.dropped_bytes >= 2000
    dropped = bench.output.dropped_bytes
    bench.now += 10
    bench.say(b"after\n")
    assert bench.lines()[-3:] == [
        b"[dataplane: %d bytes of output dropped, over 1000 bytes/s]" % dropped,
        b"after",
        b"",
    ]
    bench.close()


def test_LP_06_the_file_is_rotated_once_and_never_grows_past_its_bound(tmp_path):
    bench = Bench(tmp_path, Limits(file_bytes=1000, rate_bytes_per_s=1 << 20))
    for n in range(100):
        bench.say(b"%090d\n" % n)
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1"]
    assert all(p.stat().st_size <= 1000 for p in tmp_path.iterdir())
    assert bench.lines()[-2] == b"%090d" % 99
    bench.close()


def test_a_message_reaches_back_into_the_rotated_file(tmp_path):
    bench = Bench(tmp_path, Limits(file_bytes=400, rate_bytes_per_s=1 << 20))
    for n in range(12):
        bench.say(b"line %d\n" % n)
    message = bench.output.tail().split("\n")
    assert message[-1] == "line 11"
    assert len(message) > 10
    bench.close()


def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    bench = Bench(tmp_path, LARGE)
    bench.close()
    again = Output(str(tmp_path / "link"), LARGE, Clock(monotonic=lambda: 0.0, wall=lambda: 0.0))
    (tmp_path / "link.1").symlink_to(tmp_path / "victim")
    _, write_fd = again.open()
    os.write(write_fd, b"x\n")
    again.pump()
    os.close(write_fd)
    again.close()
    assert (tmp_path / "victim").read_text() == "precious"
