import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import instance
from launch.instance import Failure, Instance, Lock


def _instance(data: Path, pid: int) -> Instance:
    return Instance(data, pid, "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", data / "token", 5.0)


def test_what_was_written_is_found_and_private(tmp_path: Path) -> None:
    written = _instance(tmp_path, os.getpid())
    instance.write(written)
    assert instance.find(tmp_path) == written
    assert (tmp_path / "instance.json").stat().st_mode & 0o777 == 0o600


def test_an_instance_whose_process_is_gone_is_told_apart(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    instance.write(_instance(tmp_path, gone.pid))
    with pytest.raises(Failure, match=rf"pid {gone.pid}\) is gone; start it again"):
        instance.find(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "instance.json").write_text("{")
    with pytest.raises(Failure, match=r"instance\.json"):
        instance.find(tmp_path)


def test_a_second_one_on_the_same_directory_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "data")
    with pytest.raises(Failure, match=rf"another instance \(pid {os.getpid()}\) runs on"):
        Lock(tmp_path / "data")
    lock.release()
    Lock(tmp_path / "data").release()


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory, for a user whom the file system refuses to write in it."""
    folder, before = Path(tempfile.mkdtemp()), os.geteuid()
    (folder / "lock").touch()  # of an earlier run
    (folder / "lock").chmod(0o666)
    folder.chmod(0o555)
    if before == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(before)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def _unusable(data: Path, why: str) -> str:
    return (
        f"--data {data} cannot hold an instance's state: {why}; name a directory that this user may create and write in"
    )


@pytest.mark.parametrize("below", ["", "new", "new/one"])
def test_a_directory_that_cannot_be_written_in_is_named_with_why_and_what_would_do(read_only: Path, below: str) -> None:
    data = read_only / below
    at = f" ({read_only / 'new'})" if below == "new/one" else ""
    with pytest.raises(Failure, match=re.escape(_unusable(data, f"permission denied{at}"))):
        Lock(data)


def test_so_is_a_file_where_a_directory_should_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Failure, match=re.escape(_unusable(file, "it is a file"))):
        Lock(file)
    with pytest.raises(Failure, match=re.escape(_unusable(file / "new", "not a directory"))):
        Lock(file / "new")


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom launch.instance import Lock\n"
        f"lock = Lock(Path({str(tmp_path)!r}))\nprint('held', flush=True)\ninput()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Failure, match=f"pid {holder.pid}"):
        Lock(tmp_path)
    holder.kill()
    holder.communicate()
    Lock(tmp_path).release()
