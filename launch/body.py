"""`--data` of commands that send something: a body, from a file or from stdin; and still the directory of an instance.

Path: launch/commands/{invoke,send}.py → [body].
"""

import sys
from pathlib import Path

import click

from launch.options import data_default


def instance_or_body(given: tuple[str, ...]) -> tuple[Path, str | None]:
    """A directory that holds an instance is taken as that, as for every command; the other one is the body."""
    data, body = Path(data_default()), None
    for one in given:
        if (Path(one) / "instance.json").is_file():
            data = Path(one)
        elif body is None:
            body = one
        else:
            raise click.UsageError("one body at most")
    return data, body


def payload(body: str | None) -> bytes | None:
    """TEXT, @FILE or @- (stdin) as bytes."""
    if body is None:
        return None
    if body == "@-":
        return sys.stdin.buffer.read()
    if body.startswith("@"):
        try:
            return Path(body[1:]).read_bytes()
        except OSError as error:
            raise click.UsageError(f"{body[1:]}: {error.strerror}") from None
    return body.encode()


def looks_like_json(data: bytes) -> bool:
    return data.lstrip()[:1] in (b"{", b"[")
