"""`dataplane doctor`: what on this machine would be in the way; each finding ends with its fix."""

import os
import platform
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from launch.options import data_option

if TYPE_CHECKING:
    from launch.client import Client

_FILES_WANTED = 4096
_PYTHON_LEAST = (3, 11)


class Finding(NamedTuple):
    """`level`: ok, warn (works, but worse) or fail. `fix` is empty when ok."""

    level: str
    about: str
    found: str
    fix: str = ""


@click.command(short_help="Check this machine; each finding ends with its fix.")
@data_option
def command(data: Path) -> int:
    """Check Python, limits, cgroups, ports, the file system and the running instance. Exit code 1 when one fails."""
    from launch.tables import GREEN, RED, YELLOW, colourful, painted

    colour = colourful()
    marks = {"ok": ("++", GREEN), "warn": ("??", YELLOW), "fail": ("!!", RED)}
    failed = False
    for finding in findings(data):
        mark, code = marks[finding.level]
        failed |= finding.level == "fail"
        fix = f"  → {finding.fix}" if finding.fix else ""
        click.echo(f"{painted(mark, code, colour=colour)} {finding.about:<12} {finding.found}{fix}")
    return 1 if failed else 0


def findings(data: Path) -> Iterator[Finding]:
    """Every check, in the order in which one would repair."""
    yield _python()
    yield from _libraries()
    yield _bytecode()
    yield _files()
    yield _processes()
    yield _cgroups()
    yield _confinement()
    yield _names()
    yield _disk(data)
    yield from _instance(data)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _PYTHON_LEAST:
        return Finding("fail", "python", version, "install Python 3.11 or newer")
    return Finding("ok", "python", f"{version} ({platform.machine()}, {platform.system().lower()})")


def _libraries() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    missing, found = [], []
    for name in ("uvloop", "httptools", "aiohttp", "msgspec", "orjson", "PyYAML", "click"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing == ["uvloop"]:
        yield Finding("warn", "libraries", "uvloop is missing: asyncio's own loop is used", "pip install uvloop")
    elif missing:
        yield Finding("fail", "libraries", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Finding("ok", "libraries", ", ".join(found))


def _bytecode() -> Finding:
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Finding(
            "warn",
            "bytecode",
            "PYTHONDONTWRITEBYTECODE is set: every start compiles again",
            "unset PYTHONDONTWRITEBYTECODE",
        )
    import click as sample

    cached = getattr(sample, "__cached__", None)
    if cached and not Path(cached).exists():
        where = Path(sample.__file__ or "").parent.parent
        return Finding("warn", "bytecode", "libraries are not compiled", f"python -m compileall -q {where}")
    return Finding("ok", "bytecode", "compiled")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = f"open files: {soft} (at most {hard})"
    if soft < _FILES_WANTED:
        return Finding("warn", "files", shown, f"ulimit -n {min(65536, hard)}")
    return Finding("ok", "files", shown)


def _processes() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft not in (resource.RLIM_INFINITY, -1) and soft < 512:
        return Finding("warn", "processes", f"at most {soft}", "ulimit -u 4096")
    return Finding("ok", "processes", "unlimited" if soft in (resource.RLIM_INFINITY, -1) else f"at most {soft}")


def _cgroups() -> Finding:
    root = Path("/sys/fs/cgroup")
    fix = "run under `systemd-run --user --scope -p Delegate=yes`, or as root"
    if not root.is_dir():
        return Finding("warn", "cgroups", "none: CPU and memory limits of pods are approximate", "Linux only")
    version = "v2" if (root / "cgroup.controllers").exists() else "v1"
    places = [root] if version == "v2" else [root / "memory", root / "cpu"]
    if all(os.access(place, os.W_OK) for place in places if place.exists()):
        return Finding("ok", "cgroups", f"{version}, writable")
    return Finding("warn", "cgroups", f"{version}, not writable: limits fall back to rlimits", fix)


def _confinement() -> Finding:
    """What a pod asks for in its securityContext and volumes, and does not get on this machine."""
    from controlplane.drivers.nursery import trial

    with tempfile.TemporaryDirectory(prefix="dataplane-doctor-") as place:
        why = trial.why_no_mounts(place)
        if why:
            text = f"no private mounts ({why}): mount paths are rewritten, readOnlyRootFilesystem is not enforced"
            return Finding(
                "warn", "pods", text, "run as root, or allow user namespaces (kernel.unprivileged_userns_clone=1)"
            )
        why = trial.why_no_read_only_root(place)
    if why:
        return Finding("warn", "pods", f"readOnlyRootFilesystem is not enforced: {why}", "Linux 5.12 or newer")
    return Finding("ok", "pods", "private mounts, read-only roots; no seccomp profiles anywhere")


def _names() -> Finding:
    try:
        found = {info[4][0] for info in socket.getaddrinfo("x.default.localhost", 80, type=socket.SOCK_STREAM)}
    except OSError:
        return Finding(
            "warn",
            "names",
            "*.localhost does not resolve in Python here (curl and browsers do it themselves)",
            "use the header: curl -H 'Host: NAME.NAMESPACE.localhost' http://127.0.0.1:8080",
        )
    if found & {"127.0.0.1", "::1"}:
        return Finding("ok", "names", "*.localhost is loopback")
    return Finding("warn", "names", f"*.localhost is {', '.join(map(str, found))}", "use -H 'Host: …' with 127.0.0.1")


def _disk(data: Path) -> Finding:
    place = next((one for one in (data, *data.absolute().parents) if one.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding("fail", "data", f"{place.absolute()} is not writable", "name another directory with --data DIR")
    if free < 200 * 1024 * 1024:
        return Finding(
            "warn", "data", f"{free // 1048576} MiB free at {place.absolute()}", "make room, or take another --data"
        )
    return Finding("ok", "data", f"{data.absolute()}, {free // 1073741824} GiB free")


def _instance(data: Path) -> Iterator[Finding]:
    from launch.client import Client, ServerError
    from launch.instance import Failure, find

    try:
        instance = find(data)
    except Failure:
        yield Finding("ok", "instance", f"none runs on {data}")
        for name, port in (("http", 8080), ("api", 8001)):
            yield _port(name, port)
        return
    client = Client(instance, answer_s=5.0)
    try:
        answer = client.text("/readyz?verbose")
    except ServerError:  # a broker of its own
        yield Finding("ok", "instance", f"pid {instance.pid}, a broker, http={instance.http} api={instance.api}")
        yield from _events(client, data)
        return
    except Failure as error:
        yield Finding("fail", "instance", f"pid {instance.pid}: {error.message}", f"kill {instance.pid}; dataplane up")
        return
    failed = [line for line in answer.splitlines() if line.startswith("[-]")]
    if failed:
        yield Finding("fail", "instance", "; ".join(failed), "see the log of `dataplane up`")
    else:
        yield Finding("ok", "instance", f"pid {instance.pid}, http={instance.http} api={instance.api}")
    yield from _events(client, data)


def _events(client: "Client", data: Path) -> Iterator[Finding]:
    """Brokers that cannot take events, and files of brokers that are not there any more."""
    from launch.client import ServerError, path_of
    from launch.names import kind_named

    brokers = client.get("/dataplane/v1/eventing/brokers")["brokers"]
    closed = [one["broker"] for one in brokers if not one["open"]]
    if closed:
        yield Finding(
            "warn",
            "events",
            f"not open: {', '.join(closed[:5])}",
            "`dataplane describe broker/NAME`, or the log, says why",
        )
    known = {one["broker"] for one in brokers}
    try:
        items = client.get(path_of(kind_named("broker"), None)).get("items", [])
        known |= {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in items}
    except ServerError:
        pass  # a broker of its own has no resources
    files = {f"{path.parent.name}/{path.stem}": path for path in (data / "events").glob("*/*.db")}
    left = sorted(files.keys() - known)
    if left:
        yield Finding(
            "warn",
            "events",
            f"events that no Broker has: {', '.join(left[:5])}",
            f"stop what runs on {data}, then rm {files[left[0]].with_suffix('')}.*",
        )
    elif brokers and not closed:
        yield Finding("ok", "events", f"brokers that take events: {len(brokers)}")


def _port(name: str, port: int) -> Finding:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return Finding("warn", f"port {port}", "taken by another program", f"dataplane up --{name} 127.0.0.1:0")
    return Finding("ok", f"port {port}", "free")
