"""The last good snapshot on disk: what a hop serves when it starts and the control plane is away.

Path: watch.Follower → [lastgood] → disk → the same hop, after its restart.

Written to a new file, synced and renamed: a crash leaves the old one or the new one. A checksum in the first line
refuses anything else.

Source: reliability.md CP-05.
"""

import hashlib
import os
import threading
from pathlib import Path
from typing import NamedTuple

import msgspec

from dataplane.clock import Clock
from dataplane.errors import ConfigFault
from dataplane.resources.snapshot import VERSION, Snapshot

_MAGIC = b"dataplane-snapshot"
_FILE_BYTES_MAX = 256 * 1024 * 1024


class Kept(NamedTuple):
    """A snapshot and how old it is."""

    snapshot: Snapshot
    age_s: float


class LastGood:
    """One file at `path`. Both methods block on the disk: call them in a thread when the loop has traffic."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = -1

    def save(self, snapshot: Snapshot) -> None:
        """Raises OSError; the file before stays. Threads may call it in any order: the newest generation stays."""
        with self._lock:
            if snapshot.generation >= self._newest:
                self._write(snapshot)
                self._newest = snapshot.generation

    def _write(self, snapshot: Snapshot) -> None:
        body = msgspec.json.encode(snapshot)
        head = b"%s %d %s %.3f\n" % (
            _MAGIC,
            VERSION,
            hashlib.blake2b(body, digest_size=16).hexdigest().encode(),
            self._clock.wall(),
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(head + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def load(self) -> Kept | None:
        """None when there is no file. Raises ConfigFault when it is not a whole snapshot of this format."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigFault(f"{self._path}: cannot be read: {error.strerror}") from None
        head, newline, body = text.partition(b"\n")
        words = head.split(b" ")
        if not newline or len(words) != 4 or words[0] != _MAGIC:
            raise ConfigFault(f"{self._path}: not a snapshot file")
        if words[1] != b"%d" % VERSION:
            raise ConfigFault(f"{self._path}: format {words[1].decode('ascii', 'replace')}, expected {VERSION}")
        if hashlib.blake2b(body, digest_size=16).hexdigest().encode() != words[2]:
            raise ConfigFault(f"{self._path}: checksum does not match: the file is damaged")
        try:
            age_s = self._clock.wall() - float(words[3])
            return Kept(msgspec.json.decode(body, type=Snapshot), max(0.0, age_s))
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigFault(f"{self._path}: {error}") from None
