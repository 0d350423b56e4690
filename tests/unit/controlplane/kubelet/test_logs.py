"""Reading logs back."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubelet.logs import Cutter, LogFiles, _tail
from dataplane.clock import Clock, rfc3339_micro


def stamped(line: str, at: float = 0.0) -> bytes:
    return rfc3339_micro(at).encode() + b" " + line.encode()


def logs(tmp_path, now: float = 0.0) -> LogFiles:
    return LogFiles(tmp_path, clock=Clock(monotonic=lambda: now, wall=lambda: now))


@pytest.fixture
def pod(tmp_path):
    folder = tmp_path / "ns" / "pod"
    folder.mkdir(parents=True)
    return folder


async def text(reader: LogFiles, **options) -> str:
    return b"".join([piece async for piece in reader.read("ns", "pod", "c", **options)]).decode()


def write(path, *lines: str, at: float = 0.0, end: str = "\n") -> None:
    path.write_bytes(b"\n".join(stamped(line, at) for line in lines) + (end.encode() if lines else b""))


async def test_stamps_are_cut_off_and_the_rotated_file_comes_first(tmp_path, pod):
    write(pod / "c.log.1", "one", "two")
    write(pod / "c.log", "three", "four", end="")
    assert await text(logs(tmp_path)) == "one\ntwo\nthree\nfour"


@given(
    older=st.lists(st.text("ab", max_size=3), max_size=8),
    newer=st.lists(st.text("ab", max_size=3), max_size=8),
    wanted=st.integers(0, 20),
    ended=st.booleans(),
)
def test_a_tail_is_the_end_of_everything(tmp_path_factory, older, newer, wanted, ended):
    folder = tmp_path_factory.mktemp("tail")
    write(folder / "1", *older)
    write(folder / "2", *newer, end="\n" if ended else "")
    starts = _tail([folder / "1", folder / "2"], wanted)
    got = [p.read_bytes()[s:] for p, s in zip((folder / "1", folder / "2"), starts, strict=True)]
    lines = b"".join(got).split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    assert [line[28:].decode() for line in lines] == ([*older, *newer][-wanted:] if wanted else [])


async def test_since_leaves_older_lines_out(tmp_path, pod):
    (pod / "c.log").write_bytes(stamped("old", 10) + b"\n" + stamped("new", 95) + b"\n")
    assert await text(logs(tmp_path, now=100.0), since_s=10) == "new\n"


async def test_the_run_before_is_read_on_demand(tmp_path, pod):
    write(pod / "c.log", "now")
    with pytest.raises(LookupError, match='previous terminated container "c" in pod "pod" not found'):
        await text(logs(tmp_path), previous=True)
    write(pod / "c.log.previous", "before")
    assert await text(logs(tmp_path), previous=True) == "before\n"


@pytest.mark.parametrize("name", ["../../secret", "nothing"])
async def test_what_is_no_log_is_not_read(tmp_path, pod, name):
    (tmp_path / "secret.log").write_text("x")
    with pytest.raises(LookupError):
        async for _ in logs(tmp_path / "ns").read("", "pod", name):
            pass


async def test_following_goes_on_through_rotation_and_restart_and_ends_with_the_folder(tmp_path, pod):
    log = pod / "c.log"
    write(log, "1")
    got = b""

    async def follow() -> None:
        nonlocal got
        async for piece in logs(tmp_path).read("ns", "pod", "c", follow=True):
            got += piece

    async with asyncio.timeout(20):
        task = asyncio.create_task(follow())

        async def until(line: bytes) -> None:
            while line not in got:
                await asyncio.sleep(0.01)

        await until(b"1")
        with log.open("ab") as file:
            file.write(stamped("2") + b"\n")
        await until(b"2")
        with log.open("ab") as file:
            file.write(stamped("3") + b"\n")
        log.rename(pod / "c.log.1")
        write(log, "4")
        await until(b"4")
        log.rename(pod / "c.log.previous")
        await asyncio.sleep(0.15)
        write(log, "5")
        await until(b"5")
        for file in pod.iterdir():
            file.unlink()
        pod.rmdir()
        await task
    assert got == b"1\n2\n3\n4\n5\n"


async def test_a_follower_may_leave(tmp_path, pod):
    write(pod / "c.log", "1")
    reader = logs(tmp_path).read("ns", "pod", "c", follow=True)
    async with contextlib.aclosing(reader):
        assert await anext(reader) == b"1\n"


@given(st.lists(st.text("ab", max_size=5), max_size=6), st.lists(st.integers(0, 200), max_size=6))
def test_any_cut_gives_the_same_lines(lines, cuts):
    data = b"".join(stamped(line) + b"\n" for line in lines)
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    cutter = Cutter()
    got = b"".join(cutter.feed(data[a:b]) for a, b in zip(edges, edges[1:], strict=False)) + cutter.end()
    assert got.decode() == "".join(line + "\n" for line in lines)


def test_an_endless_line_is_sent_in_pieces():
    cutter = Cutter()
    got = cutter.feed(stamped("x" * 100))
    for _ in range(30):
        got += cutter.feed(b"y" * 100_000)
    assert len(cutter._rest) < 2 << 20
    assert len(got + cutter.end()) == 100 + 3_000_000
