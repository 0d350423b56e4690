"""Writes the map in README.md from the docstrings of the packages and their files; --check says whether it is stale."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["gateway", "activator", "queueproxy", "autoscaler", "controlplane", "launch", "dataplane"]
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


def lines(folder: Path, depth: int) -> list[str]:
    """The folder's own line, then its files and sub-packages in path order."""
    out = [_line(f"{folder.name}/", depth, sentence(folder / "__init__.py"))]
    entries = [p for p in folder.iterdir() if p.suffix == ".py" and p.name not in ("__init__.py", "__main__.py")]
    entries += [p for p in folder.iterdir() if (p / "__init__.py").exists()]
    for entry in sorted(entries, key=rank):
        out += lines(entry, depth + 1) if entry.is_dir() else [_line(entry.name, depth + 1, sentence(entry))]
    return out


def rendered() -> str:
    blocks = ["\n".join(lines(ROOT / package, 0)) for package in PACKAGES]
    return "```\n" + "\n\n".join(blocks) + "\n```\n"


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    fresh = head + BEGIN + rendered() + END + tail
    if fresh == text:
        return 0
    if "--check" in sys.argv:
        print("README.md: the map is stale; run: make map", file=sys.stderr)
        return 1
    readme.write_text(fresh)
    return 0


def _line(name: str, depth: int, what: str) -> str:
    return f"{'  ' * depth + name:22} {what}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
