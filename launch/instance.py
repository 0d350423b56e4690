"""The running instance of a data directory: how clients find it, and how `up` keeps it to itself.

Path: all_in_one writes instance.json and holds the lock ↔ [instance] ↔ client commands read.

The lock is flock(2): the kernel drops it with the process, however that ended, so there is no stale lock to remove.
"""

import errno
import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from dataplane.telemetry.logs import Redacted


class Failure(click.ClickException):
    """A command failed: `error: …` on stderr for each line of the message, exit code 1."""

    def show(self, file: object = None) -> None:
        for line in self.message.splitlines() or [""]:
            click.echo(f"error: {line}", err=True)


class TimedOut(Failure):
    exit_code = 124


class Instance(NamedTuple):
    """What instance.json holds. URLs are `http://host:port`; the token is in a file of its own (0600)."""

    data: Path
    pid: int
    http: str
    api: str
    admin: str
    token_path: Path
    started_at: float

    @property
    def token(self) -> str:
        try:
            return self.token_path.read_text().strip()
        except OSError as error:
            raise Failure(f"{self.token_path}: {error.strerror}; run this as the user who ran `dataplane up`") from None

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"


def find(data: Path) -> Instance:
    """The instance that runs on `data`. Raises Failure saying what to do when none does."""
    path = data / "instance.json"
    try:
        body = json.loads(path.read_text())
        found = Instance(
            data=data,
            pid=int(body["pid"]),
            http=str(body["http"]),
            api=str(body["api"]),
            admin=str(body.get("admin", "")),
            token_path=Path(body["token"]),
            started_at=float(body.get("startedAt", 0)),
        )
    except FileNotFoundError:
        raise Failure(
            f"no instance runs on {data}; start one with `dataplane up`, or name its directory with --data DIR"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise Failure(f"{path}: {error}; is it of another version? `dataplane up` writes it anew") from None
    if not alive(found.pid):
        raise Failure(f"the instance of {data} (pid {found.pid}) is gone; start it again with `dataplane up`")
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write(instance: Instance) -> None:
    body = {
        "pid": instance.pid,
        "http": instance.http,
        "api": instance.api,
        "admin": instance.admin,
        "token": str(instance.token_path),
        "startedAt": instance.started_at,
    }
    write_private(instance.data / "instance.json", json.dumps(body, indent=2) + "\n")


def remove(data: Path) -> None:
    (data / "instance.json").unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Atomic, readable by the owner only."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def token(data: Path) -> "Redacted":
    """The API token of a data directory, made at first; the same for every run, so that a kubeconfig stays good."""
    from dataplane.telemetry.logs import Redacted

    path = data / "token"
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = ""
    if not text:
        text = secrets.token_urlsafe(32)
        write_private(path, text + "\n")
    return Redacted(text)


class Lock:
    """The right to run on a data directory; held until `release` or the end of the process."""

    def __init__(self, data: Path) -> None:
        """Raises Failure: naming the holder's pid, or what is wrong with the directory."""
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(data / "lock", "a+")  # noqa: SIM115 - held for the life of the process
        except OSError as error:
            raise _unusable(data, error) from None
        if not os.access(data, os.W_OK | os.X_OK, effective_ids=True):  # the lock is of an earlier run
            self._file.close()
            raise _unusable(data, PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(data)))
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            pid = self._file.read().strip() or "unknown"
            self._file.close()
            raise Failure(
                f"another instance (pid {pid}) runs on {data}; stop it (kill {pid}), or take another --data DIR"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def _unusable(data: Path, error: OSError) -> Failure:
    why = "it is a file" if isinstance(error, FileExistsError) else (error.strerror or str(error)).lower()
    at = f" ({error.filename})" if error.filename and Path(error.filename) not in (data, data / "lock") else ""
    return Failure(
        f"--data {data} cannot hold an instance's state: {why}{at};"
        " name a directory that this user may create and write in"
    )
