"""A file layer under SQLite that remembers every write and sync, so that a power cut can be replayed at any of them.

What a disk may have after a power cut: everything that was synced, and of what was written after that any part, in any
order, a write perhaps torn at a sector. `images` makes such states; a test opens each with the real library.

`connect` has the face of the standard library's sqlite3.Connection as far as broker/store/sqlite/files.py looks at it; the
pager below is SQLite's own (apsw's copy). Its WAL index is in memory, so one connection only.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import apsw

SECTOR = 512


class Step(NamedTuple):
    """kind: write, truncate, sync, sync folder, delete, or `mark` (something the test noted)."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""
    note: Any = None


class Recorder(apsw.VFS):
    """`fail_sync`: called with the file's name and how many syncs came before; True makes this one fail with EIO."""

    def __init__(self, name: str = "recorder") -> None:
        self.steps: list[Step] = []
        self.syncs = 0
        self.fail_sync: Callable[[str, int], bool] = lambda file, count: False
        self.name = name
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        file = name.filename() if isinstance(name, apsw.URIFilename) else name
        return File(self, file, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.steps.append(Step("delete", Path(filename).name))

    def sync_folder(self, folder: Path) -> None:
        """Instead of the real one: what was created and deleted is so."""
        self.steps.append(Step("sync folder", ""))

    def mark(self, note: Any) -> None:
        self.steps.append(Step("mark", "", note=note))


class File(apsw.VFSFile):
    def __init__(self, recorder: Recorder, path: str | None, name: Any, flags: list[int]) -> None:
        self.recorder = recorder
        self.file = Path(path).name if path else ""
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self.file:
            self.recorder.steps.append(Step("write", self.file, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self.recorder.steps.append(Step("truncate", self.file, size))

    def xSync(self, flags: int) -> None:
        count = self.recorder.syncs
        self.recorder.syncs += 1
        if self.recorder.fail_sync(self.file, count):
            self.recorder.steps.append(Step("failed sync", self.file))
            error = apsw.IOError("the disk says EIO")
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC
            raise error
        super().xSync(flags)
        self.recorder.steps.append(Step("sync", self.file))


class Cursor:
    def __init__(self, cursor: Any, rowcount: int) -> None:
        self._cursor = cursor
        self.rowcount = rowcount
        self.fetchone, self.fetchall, self.close = cursor.fetchone, cursor.fetchall, cursor.close

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)


class Connection:
    def __init__(self, path: Path, vfs: str) -> None:
        self._db = apsw.Connection(str(path), vfs=vfs)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")

    def execute(self, sql: str, values: Any = ()) -> Cursor:
        return self._run(lambda: self._db.execute(sql, tuple(values)))

    def executemany(self, sql: str, rows: Any) -> Cursor:
        return self._run(lambda: self._db.executemany(sql, [tuple(row) for row in rows]))

    def _run(self, call: Callable[[], Any]) -> Cursor:
        try:
            return Cursor(call(), self._db.changes())
        except apsw.Error as error:
            told = sqlite3.OperationalError(str(error))
            told.sqlite_errorcode = getattr(error, "extendedresult", 1)
            raise told from error

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        self._db.close()


def images(
    steps: list[Step],
    folder: Path,
    chance: random.Random,
    *,
    every: int = 1,
    before: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[tuple[list[Any], Path]]:
    """(what was marked by then, a folder with the files as a power cut could leave them): for each prefix of the steps
    nothing of what was not synced, all of it, and a part of it. before: the files when the recording began."""
    for cut in range(0, len(steps) + 1, every):
        prefix = steps[:cut]
        marks = [step.note for step in prefix if step.kind == "mark"]
        synced = {step.file: i for i, step in enumerate(prefix) if step.kind == "sync"}
        folder_synced = max([i for i, step in enumerate(prefix) if step.kind == "sync folder"], default=-1)
        loose = [
            i
            for i, step in enumerate(prefix)
            if (step.kind in ("write", "truncate") and i > synced.get(step.file, -1))
            or (step.kind == "delete" and i > folder_synced)
        ]
        some = {i for i in loose if chance.random() < 0.5}
        for kept in {frozenset(), frozenset(loose), frozenset(some)}:
            gone = set(loose) - kept
            torn = chance.choice(sorted(kept)) if kept and chance.random() < 0.5 else -1
            yield marks, _image(before, prefix, gone, torn, folder / f"{cut}-{len(kept)}-{torn}")


def _image(before: Mapping[str, bytes], steps: list[Step], gone: set[int], torn: int, folder: Path) -> Path:
    files = {name: bytearray(data) for name, data in before.items()}
    for i, step in enumerate(steps):
        if i in gone:
            continue
        if step.kind == "write":
            data = step.data[: max(SECTOR, len(step.data) // 2 // SECTOR * SECTOR)] if i == torn else step.data
            file = files.setdefault(step.file, bytearray())
            if len(file) < step.offset:
                file.extend(bytes(step.offset - len(file)))
            file[step.offset : step.offset + len(data)] = data
        elif step.kind == "truncate":
            file = files.setdefault(step.file, bytearray())
            del file[step.offset :]
        elif step.kind == "delete":
            files.pop(step.file, None)
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
