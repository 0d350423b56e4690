"""Checks that every relative link and every file named in the documents exists."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(
    r"(?<![\w/.-])((?:dataplane|gateway|activator|queueproxy|autoscaler|broker|controlplane|launch|tools|tests|loadtests|examples|docs)"
    r"/[\w./-]+\.(?:py|md|yaml|jsonl|cfg|conf))\b"
)


def documents() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in ("docs", "examples", "loadtests", "changes"):
        yield from (ROOT / folder).rglob("*.md")


def broken(document: Path) -> Iterator[str]:
    """`file:line: what is missing`, for each thing that the document points at and that is not there."""
    for number, line in enumerate(document.read_text().splitlines(), 1):
        for target in LINK.findall(line):
            if not (document.parent / target).exists():
                yield f"{document.relative_to(ROOT)}:{number}: no {target}"
        for target in NAMED.findall(line):
            if not (ROOT / target).exists():
                yield f"{document.relative_to(ROOT)}:{number}: no {target}"


def main() -> int:
    faults = [fault for document in documents() for fault in broken(document)]
    print("\n".join(faults), file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
