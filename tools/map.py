"""Writes docs/map.md (every file) and README.md's map (every folder) from docstrings; --check says what is stale."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["gateway", "activator", "queueproxy", "autoscaler", "broker", "controlplane", "launch", "dataplane"]
BEGIN, END = "<!-- map: written by tools/map.py -->\n", "<!-- end of map -->\n"
# Path order: what comes first on the way of a request, a decision, a byte. Names that are not here follow by alphabet.
ORDER = [
    *("accept", "match", "split", "hold", "admit", "pods", "probe", "forward", "report"),
    *("collect", "window", "scale", "decide", "actuate"),
    *("cli", "commands", "all_in_one", "hops"),
    *("manifest", "admission", "api", "store", "reconcile", "publish", "kubelet", "drivers", "contract"),
    *("runtime", "net", "telemetry", "policy", "resources", "wire", "errors", "clock", "testing"),
    "settings",
]


def sentence(path: Path) -> str:
    """The first paragraph of a module's docstring on one line, without its full stop."""
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(doc.split("\n\n")[0].split()).rstrip(".")


def rank(path: Path) -> tuple[int, str]:
    return (ORDER.index(path.stem) if path.stem in ORDER else len(ORDER), path.stem)


def lines(folder: Path, depth: int, *, files: bool) -> list[str]:
    """The folder's own line, then its sub-packages and, when asked for, its files, in path order."""
    out = [_line(f"{folder.name}/", depth, sentence(folder / "__init__.py"))]
    entries = [p for p in folder.iterdir() if (p / "__init__.py").exists()]
    if files:
        entries += [p for p in folder.iterdir() if p.suffix == ".py" and p.name not in ("__init__.py", "__main__.py")]
    for entry in sorted(entries, key=rank):
        if entry.is_dir():
            out += lines(entry, depth + 1, files=files)
        else:
            out.append(_line(entry.name, depth + 1, sentence(entry)))
    return out


def rendered(*, files: bool) -> str:
    blocks = ["\n".join(lines(ROOT / package, 0, files=files)) for package in PACKAGES]
    return "```\n" + ("\n\n" if files else "\n").join(blocks) + "\n```\n"


def is_fresh(path: Path, body: str, *, check: bool) -> bool:
    """Whether the map in `path` is `body`; without `check` it is made so."""
    text = path.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    fresh = head + BEGIN + body + END + tail
    if fresh == text:
        return True
    if check:
        print(f"{path.relative_to(ROOT)}: the map is stale; run: make map", file=sys.stderr)
        return False
    path.write_text(fresh)
    return True


def main() -> int:
    check = "--check" in sys.argv
    short = is_fresh(ROOT / "README.md", rendered(files=False), check=check)
    full = is_fresh(ROOT / "docs" / "map.md", rendered(files=True), check=check)
    return 0 if short and full else 1


def _line(name: str, depth: int, what: str) -> str:
    return f"{'  ' * depth + name:22} {what}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
