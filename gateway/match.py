"""Host, path and headers → the splits that answer. Pure: an immutable table made from a snapshot.

Path: accept.py → [match] → split.py.

One dictionary look-up by host; most hosts have one path without headers, so nothing is searched. A new table shares
what did not change: one edited route among 10 000 is recompiled alone (a copy of the dictionary of hosts is what it
costs).

Of two routes that claim a host the one that had it keeps it; the other takes over when it goes (spec §2.6).

Source: spec/serving.md §6.2, §6.3, §6.7.
"""

from typing import Protocol

import msgspec

from dataplane.resources.snapshot import Change, Path, Route, Rule, Snapshot
from dataplane.wire.headers import OURS


class Lookup(Protocol):
    """Where headers are looked up (a RequestReader); only paths that match on headers ask."""

    def header(self, name: bytes) -> bytes | None: ...


class Arm(msgspec.Struct, frozen=True, gc=False):
    """One share of a split. `set_lines`/`set_names`: headers to set, as bytes to send and names to remove first (what
    no client can have sent is not among them)."""

    revision: str
    until: float  # upper end of its share of 0…100
    set_lines: bytes
    set_names: frozenset[bytes]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A path of a host, compiled. `arms` leaves out the shares of 0 %."""

    prefix: bytes
    headers: tuple[tuple[bytes, bytes], ...]  # lower-case name, exact value; all must match
    rewrite_host: bytes
    arms: tuple[Arm, ...]
    route: str
    hash: bytes
    plain: bool = False  # matches every path: nothing has to be looked at


Hosts = dict[bytes, tuple[Entry, ...]]


class RouteTable:
    """Entries by host, one dictionary per listener. ANY_HOST holds what a rule without hosts says."""

    __slots__ = ("_claims", "external", "generation", "internal")

    ANY_HOST = b"*"

    def __init__(self) -> None:
        self.generation = 0
        self.external: Hosts = {}
        self.internal: Hosts = {}
        # host → routes that claim it, oldest first: "namespace/name" and its entries
        self._claims: tuple[dict[bytes, tuple[tuple[str, tuple[Entry, ...]], ...]], ...] = ({}, {})

    def updated(self, old: Snapshot, new: Snapshot, change: Change | None) -> "RouteTable":
        """The table for `new`; `change` says what differs from `old` (None or full: compare)."""
        table = RouteTable()
        table.generation = new.generation
        table.external, table.internal = dict(self.external), dict(self.internal)
        table._claims = (dict(self._claims[0]), dict(self._claims[1]))
        keys = (
            change.routes.keys() if change is not None and change.base != -1 else old.routes.keys() | new.routes.keys()
        )
        for key in sorted(keys):
            before, after = old.routes.get(key), new.routes.get(key)
            if before is after:
                continue
            self._rebuild(table, key, before, after)
        return table

    def _rebuild(self, table: "RouteTable", key: str, before: Route | None, after: Route | None) -> None:
        wanted = _compile(key, after) if after is not None else ({}, {})
        stood = _hosts(before) if before is not None else (set(), set())
        for side, hosts in enumerate((table.external, table.internal)):
            claims = table._claims[side]
            for host in stood[side] | wanted[side].keys():
                entries = wanted[side].get(host)
                claim = [(k, entries if k == key and entries else e) for k, e in claims.get(host, ())]
                if entries is None:
                    claim = [(k, e) for k, e in claim if k != key]
                elif all(k != key for k, _ in claim):
                    claim.append((key, entries))
                if claim:
                    claims[host] = tuple(claim)
                    hosts[host] = claim[0][1]
                else:
                    claims.pop(host, None)
                    hosts.pop(host, None)


def match(hosts: Hosts, host: bytes, target: bytes, request: Lookup) -> Entry | None:
    """The entry for a request, None = 404. `host` is lower case without port (wire.headers.normal_host)."""
    entries = hosts.get(host) or hosts.get(RouteTable.ANY_HOST)
    if entries is None:
        return None
    for entry in entries:
        if entry.plain:
            return entry
        if entry.prefix and not target.startswith(entry.prefix):
            continue
        if entry.headers and any(request.header(name) != value for name, value in entry.headers):
            continue
        return entry
    return None


def _hosts(route: Route) -> tuple[set[bytes], set[bytes]]:
    external: set[bytes] = set()
    internal: set[bytes] = set()
    for rule in route.rules:
        names = _rule_hosts(rule)
        internal |= names
        if rule.visibility == "ExternalIP":
            external |= names
    return external, internal


def _rule_hosts(rule: Rule) -> set[bytes]:
    return {host.lower().removesuffix(".").encode() for host in rule.hosts} or {RouteTable.ANY_HOST}


def _compile(key: str, route: Route) -> tuple[Hosts, Hosts]:
    """(external, internal): the local listener answers every rule, the external one only its own (spec §6.3)."""
    external: Hosts = {}
    internal: Hosts = {}
    for rule in route.rules:
        # Header-qualified entries first in a prefix; longest prefix first; otherwise as written (spec §6.2).
        entries = tuple(_entry(key, route, path) for path in rule.paths)
        for host in _rule_hosts(rule):
            if rule.visibility == "ExternalIP":
                external[host] = _ordered(external.get(host, ()) + entries)
            internal[host] = _ordered(internal.get(host, ()) + entries)
    return external, internal


def _ordered(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda e: (-len(e.prefix), not e.headers)))


def _entry(key: str, route: Route, path: Path) -> Entry:
    arms: list[Arm] = []
    total = sum(split.percent for split in path.splits) or 1
    until = 0.0
    for split in path.splits:
        if split.percent == 0:
            continue
        until += split.percent * 100.0 / total
        headers = {**path.append_headers, **split.append_headers}
        lines = b"".join(b"%b: %b\r\n" % (n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items())
        names = (n.lower().encode("latin-1") for n in headers)
        arms.append(Arm(split.revision, until, lines, frozenset(n for n in names if not n.startswith(OURS))))
    if arms:
        arms[-1] = msgspec.structs.replace(arms[-1], until=100.0)
    return Entry(
        prefix=path.prefix.encode() if path.prefix != "/" else b"",
        headers=tuple((n.lower().encode(), v.encode()) for n, v in path.headers.items()),
        rewrite_host=path.rewrite_host.encode(),
        arms=tuple(arms),
        route=key,
        hash=route.hash.encode(),
        plain=path.prefix in ("", "/") and not path.headers,
    )
