"""Moves changes/*.md into CHANGELOG.md as the release that is named; prints a draft when none is."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ["added", "changed", "fixed", "faster", "removed"]
MARK = "<!-- releases -->\n"


def fragments() -> list[tuple[str, str, Path]]:
    """(kind, text, file) of every changes/<slug>.<kind>.md, by kind, then by slug."""
    found = []
    for path in sorted((ROOT / "changes").glob("*.md")):
        kind = path.name.split(".")[-2]
        if kind not in KINDS:
            raise SystemExit(f"{path.relative_to(ROOT)}: the name must be <slug>.<{'|'.join(KINDS)}>.md")
        found.append((kind, " ".join(path.read_text().split()), path))
    return sorted(found, key=lambda item: KINDS.index(item[0]))


def release(version: str) -> str:
    out, last = [f"## {version}\n"], ""
    for kind, text, _ in fragments():
        if kind != last:
            out.append(f"\n### {kind.capitalize()}\n\n")
            last = kind
        out.append(f"- {text}\n")
    return "".join(out) + "\n"


def main(version: str | None) -> None:
    if version is None:
        print(release("Next"), end="")
        return
    log = ROOT / "CHANGELOG.md"
    head, mark, tail = log.read_text().partition(MARK)
    log.write_text(head + mark + "\n" + release(version) + tail.lstrip("\n"))
    for _, _, path in fragments():
        path.unlink()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
