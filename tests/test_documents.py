"""Every `dataplane` command that a document prints is one, with options that there are."""

import re
import shlex
from pathlib import Path

import click
import pytest

from launch.cli import cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("README.md")])
# A line of code (indented or fenced), or code within a sentence.
LINE = re.compile(
    r"^ {0,8}(?:\.venv/bin/)?(dataplane [a-z-].*)$|`(?:\.venv/bin/)?(dataplane [a-z][^`]*)`", re.MULTILINE
)


def commands() -> list[tuple[str, str]]:
    found = []
    for path in DOCUMENTS:
        for one in LINE.finditer(path.read_text()):
            for part in (one[1] or one[2]).partition(" #")[0].split(";"):
                found.append((str(path.relative_to(ROOT)), part.replace("…", "").strip()))
    return [(path, text) for path, text in found if text.startswith("dataplane ")]


COMMANDS = commands()


def test_documents_print_commands() -> None:
    assert len(COMMANDS) > 50


@pytest.mark.parametrize(("path", "text"), COMMANDS, ids=[f"{path}: {text}" for path, text in COMMANDS])
def test_what_a_document_prints_is_a_command(path: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    group: click.Command = cli
    words = shlex.split(text.replace("|", " "))[1:]
    with click.Context(cli) as context:
        while isinstance(group, click.Group) and words:
            _, found, words = group.resolve_command(context, words)
            assert found is not None
            group = found
        known = {word for option in group.params for word in (*option.opts, *option.secondary_opts)} | {"--help"}
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{path}: {sorted(used - known)}"
