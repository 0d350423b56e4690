"""BR-03 on a real file system: the image of a mounted disk, taken while a process writes, mounts and has everything."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.store.contract import LogSettings
from broker.store.sqlite.store import SqliteStore
from tests.eventstore import EARLIEST

WRITER = Path(__file__).with_name("writer.py")
ROOT = Path(__file__).parents[4]


def command(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{' '.join(map(str, words))}: {done.stderr.strip()}")


@pytest.fixture
def mounted(tmp_path: Path):
    """mount(image) → folder; all of them are unmounted after the test."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("loop images need root and mkfs.ext4")
    folders: list[Path] = []

    def mount(image: Path) -> Path:
        folder = tmp_path / f"mnt{len(folders)}"
        folder.mkdir()
        command("mount", "-o", "loop", image, folder)
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", "-l", folder], check=False)


def written(said: Path, lines: int) -> None:
    """Returns when the writer has said so many."""
    end = time.monotonic() + 60
    while said.read_text().count("\n") < lines:
        assert time.monotonic() < end, said.read_text()[-300:]
        time.sleep(0.05)


async def test_BR_03_the_image_of_a_disk_in_use_has_everything_acknowledged(tmp_path: Path, mounted) -> None:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(96 * 1024 * 1024)
    command("mkfs.ext4", "-q", "-F", image)
    disk = mounted(image)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, str(WRITER), str(disk / "events"), "0"], stdout=said, env=environment
        )
    try:
        cuts: list[tuple[Path, set[str]]] = []
        for number in range(3):
            written(tmp_path / "said", 2000 * (number + 1))
            process.send_signal(signal.SIGSTOP)
            # What was said before the image is taken was acknowledged before it.
            lines = (tmp_path / "said").read_text().split("\n")[:-1]
            cut = tmp_path / f"cut{number}.img"
            shutil.copyfile(image, cut)
            process.send_signal(signal.SIGCONT)
            cuts.append((cut, {line[2:] for line in lines if line.startswith("a ")}))
    finally:
        process.kill()
        process.wait()
    assert len(cuts[-1][1]) > 100
    for cut, acknowledged in cuts:
        store = SqliteStore(mounted(cut) / "events")
        await store.start()
        log = await store.open("default/default", LogSettings())
        held = {one.record.event.id: one.record for one in await log.read(EARLIEST, limit=10**9)}
        assert acknowledged <= held.keys()
        assert all(record.event.data == id.encode() * 50 for id, record in held.items())
        await store.close()
