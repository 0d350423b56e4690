"""A snapshot in a YAML or JSON file, followed: `dataplane gateway --snapshot routes.yaml`.

Path: an editor, a config-management tool, a mounted ConfigMap → file → [snapshotfile] → on_change → hop.

The file holds dataplane.resources.snapshot.Snapshot as it stands there (`routes:`, `revisions:`, `brokers:` and
`triggers:`, keyed by `namespace/name`; `namespace`, `name` and `generation` may be left out). A file with mistakes is
refused with all of them, and the last good snapshot stays in force.

Cost: one stat(2) every half second; a parse, in a thread, only when the file is another one.
Source: architecture.md "The four contracts" 1; reliability.md GW-33.
"""

import asyncio
import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from dataplane.errors import ConfigFault
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import VERSION, Revision, Route, Snapshot, full
from dataplane.resources.triggers import Broker, Trigger
from dataplane.runtime.watch import OnChange, SnapshotMeters, shared
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 64 * 1024 * 1024
_EVERY_S = 0.5
_SECTIONS = ("routes", "revisions", "brokers", "triggers", "generation", "version")

_V = TypeVar("_V", Route, Revision, Broker, Trigger)
_Signature = tuple[int, int, int]  # inode, mtime in ns, size


class FileWatcher:
    """Follows one file. `start` raises ConfigFault when the first content is not valid."""

    def __init__(self, *, path: Path, on_change: OnChange, tasks: Tasks, registry: Registry) -> None:
        self._path = path
        self._on_change = on_change
        self._tasks = tasks
        self._meters = SnapshotMeters(registry)
        self._snapshot: Snapshot | None = None
        self._seen: _Signature | None = None
        self._now = asyncio.Event()
        self._error = ""

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    @property
    def error(self) -> str:
        """Why the present content was refused; "" when it is in force."""
        return self._error

    def not_ready(self) -> str:
        """For /readyz: ready as long as some snapshot is in force."""
        return "" if self._snapshot is not None else self._error or "no snapshot yet"

    async def start(self) -> None:
        await self._read(_signature(self._path))
        if self._error:
            raise ConfigFault(self._error)
        self._tasks.spawn(self._watch(), "watch")

    def reload(self) -> None:
        """Look now, whatever the file's dates say (SIGHUP)."""
        self._seen = None
        self._now.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(loop.time() + _EVERY_S):
                    await self._now.wait()
            except TimeoutError:
                pass
            self._now.clear()
            signature = _signature(self._path)
            if signature != self._seen:
                await self._read(signature)

    async def _read(self, signature: _Signature | None) -> None:
        self._seen = signature
        try:
            self._install(await asyncio.to_thread(read_snapshot, self._path))
        except ConfigFault as error:
            self._error = str(error)
            self._meters.errors.v += 1
            self._meters.reachable.v = 0
            for line in self._error.splitlines():
                log.error("snapshot_file_refused error=%s", line)
        else:
            self._error = ""
            self._meters.reachable.v, self._meters.age.v = 1, 0

    def _install(self, new: Snapshot) -> None:
        old = self._snapshot
        if old is None:
            snapshot = msgspec.structs.replace(new, generation=max(1, new.generation))
            change = full(snapshot)
        else:
            newer = max(old.generation + 1, new.generation)
            snapshot, change = shared(old, msgspec.structs.replace(new, generation=newer))
            if not (change.routes or change.revisions or change.brokers or change.triggers):
                return
        self._on_change(snapshot, change)
        self._snapshot = snapshot
        self._meters.generation.v = snapshot.generation
        log.info(
            "snapshot_file_applied path=%s generation=%d routes=%d revisions=%d brokers=%d triggers=%d",
            self._path,
            snapshot.generation,
            len(snapshot.routes),
            len(snapshot.revisions),
            len(snapshot.brokers),
            len(snapshot.triggers),
        )


def read_snapshot(path: Path) -> Snapshot:
    """Raises ConfigFault with every mistake, one a line, each with its place."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigFault(f"{path}: more than {FILE_BYTES_MAX} bytes")
        text = path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{path}: {error.strerror}") from None
    return parse_snapshot(text, str(path))


def parse_snapshot(text: bytes, source: str) -> Snapshot:
    """A snapshot from YAML or JSON; `source` opens each line of a ConfigFault."""
    document = _document(text, source)
    mistakes: list[tuple[tuple[str, ...], str]] = []
    unknown = document.keys() - set(_SECTIONS)
    mistakes += [((key,), f"unknown field; expected {', '.join(_SECTIONS)}") for key in sorted(unknown)]
    version = document.get("version", VERSION)
    if version != VERSION:
        mistakes.append((("version",), f"format {version!r}; this program reads format {VERSION}"))
    generation = document.get("generation", 0)
    if not isinstance(generation, int) or generation < 0:
        mistakes.append((("generation",), "expected a whole number, at least 0"))
        generation = 0
    routes = _entries(document, "routes", Route, mistakes)
    revisions = _entries(document, "revisions", Revision, mistakes)
    brokers = _entries(document, "brokers", Broker, mistakes)
    triggers = _entries(document, "triggers", Trigger, mistakes)
    for key, trigger in triggers.items():
        mistakes += [(("triggers", key), why) for why in _trigger_mistakes(trigger, document)]
    for key, route in routes.items():
        mistakes += [(("routes", key), why) for why in _route_mistakes(route, revisions, document)]
    for key, revision in revisions.items():
        mistakes += [(("revisions", key), why) for why in _revision_mistakes(revision)]
    if mistakes:
        root = _composed(text)
        raise ConfigFault("\n".join(f"{source}{_place(root, path)}: {'.'.join(path)}: {why}" for path, why in mistakes))
    return Snapshot(generation=generation, routes=routes, revisions=revisions, brokers=brokers, triggers=triggers)


def _document(text: bytes, source: str) -> dict[str, object]:
    document: object
    if text.lstrip()[:1] == b"{":
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigFault(f"{source}: not JSON: {error}") from None
    else:
        import yaml  # lazily: a hop that follows the control plane never reads YAML

        try:
            document = yaml.load(text, yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise ConfigFault(f"{source}{place}: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigFault(f"{source}: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigFault(f"{source}: expected a mapping with routes and revisions")
    return {str(key): value for key, value in document.items()}


def _entries(
    document: dict[str, object], section: str, type_: type[_V], mistakes: list[tuple[tuple[str, ...], str]]
) -> dict[str, _V]:
    body = document.get(section) or {}
    if not isinstance(body, dict):
        mistakes.append(((section,), "expected a mapping of namespace/name"))
        return {}
    out: dict[str, _V] = {}
    for key, value in body.items():
        path = (section, str(key))
        namespace, slash, name = str(key).partition("/")
        if not slash or not namespace or not name or "/" in name:
            mistakes.append((path, "the key must be namespace/name"))
            continue
        if not isinstance(value, dict):
            mistakes.append((path, "expected a mapping"))
            continue
        try:
            one = msgspec.convert({"namespace": namespace, "name": name, **value}, type_)
        except msgspec.ValidationError as error:
            mistakes.append((path, str(error).replace(" - at `$.", " - at `")))
            continue
        if (one.namespace, one.name) != (namespace, name):
            mistakes.append((path, f"the key does not match namespace {one.namespace!r} and name {one.name!r}"))
        out[str(key)] = one
    return out


def _route_mistakes(route: Route, revisions: dict[str, Revision], document: dict[str, object]) -> list[str]:
    # A revision that is there but wrong has been complained about; do not also call it missing.
    present = document.get("revisions")
    named = {str(key) for key in present} if isinstance(present, dict) else set()
    out = []
    for r, rule in enumerate(route.rules):
        out += [
            f"rules[{r}].hosts: {host!r} must be lower case and without a port"
            for host in rule.hosts
            if host != host.lower() or ":" in host or not host
        ]
        for p, path in enumerate(rule.paths):
            at = f"rules[{r}].paths[{p}].splits"
            out += [
                f"{at}: percent {s.percent} is not between 0 and 100" for s in path.splits if not 0 <= s.percent <= 100
            ]
            total = sum(split.percent for split in path.splits)
            if total != 100:
                out.append(f"{at}: percents sum to {total}, expected 100")
            out += [
                f"{at}: no revision {s.revision!r} in this file"
                for s in path.splits
                if s.revision not in revisions and s.revision not in named
            ]
    return out


def _trigger_mistakes(trigger: Trigger, document: dict[str, object]) -> list[str]:
    out = []
    brokers = document.get("brokers")
    if not isinstance(brokers, dict) or f"{trigger.namespace}/{trigger.broker}" not in brokers:
        out.append(f"broker: no broker {trigger.namespace}/{trigger.broker} in this file")
    for name, target in (("subscriber", trigger.subscriber), ("deadLetter", trigger.dead_letter)):
        if target is not None and not target.url.startswith(("http://", "https://")):
            out.append(f"{name}.url: {target.url!r} is not an absolute http or https URL")
    return out


def _revision_mistakes(revision: Revision) -> list[str]:
    out = []
    ids = [endpoint.id for endpoint in revision.endpoints]
    if len(ids) != len(set(ids)):
        out.append("endpoints: every id must be there once")
    for n, endpoint in enumerate(revision.endpoints):
        host, colon, port = endpoint.address.rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
            out.append(f"endpoints[{n}].address: {endpoint.address!r} is not host:port")
    if revision.container_concurrency < 0:
        out.append("containerConcurrency: must be at least 0 (0 = no limit)")
    out += [
        f"{name}: must be at least 0 (0 = none)"
        for name, value in (
            ("timeoutS", revision.timeout_s),
            ("responseStartTimeoutS", revision.response_start_timeout_s),
            ("idleTimeoutS", revision.idle_timeout_s),
        )
        if not value >= 0
    ]
    return out


def _composed(text: bytes) -> object:
    """The document with places; only for messages, so the text is parsed a second time."""
    import yaml

    try:
        return yaml.compose(text, yaml.CSafeLoader)
    except yaml.YAMLError:
        return None


def _place(root: object, path: tuple[str, ...]) -> str:
    """`:line:column` of the key that `path` ends in, or of its nearest ancestor."""
    import yaml

    node, place = root, ""
    for word in path:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == word), None)
        if found is None:
            break
        place, node = f":{found[0].start_mark.line + 1}:{found[0].start_mark.column + 1}", found[1]
    return place


def _signature(path: Path) -> _Signature | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)
