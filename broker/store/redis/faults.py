"""What an error of Redis means for the promise, and what a server's settings make of durability. Pure.

Source: reliability.md BR-18, BR-19; spec/eventing.md §27.3, §27.11.
"""

from collections.abc import Mapping

import msgspec

from dataplane.errors import StoreFault, StoreFull, StoreUnavailable

RELAXED = "relaxed (≤ 1 s)"

# Error codes after which this connection is of no use: another server may be the master now, or soon is one.
# NOSCRIPT: scripts are loaded with each connection.
CUT = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "UNBLOCKED", "NOAUTH", "WRONGPASS", "NOSCRIPT"})
_FULL = {
    "OOM": "maxmemory is reached (policy noeviction)",
    "MISCONF": "it cannot write its file: its disk is full or broken",
}
_AWAY = {
    "READONLY": "it is a replica: the master moved",
    "LOADING": "it is loading its file",
    "MASTERDOWN": "it is a replica without its master",
    "NOREPLICAS": "too few replicas are connected",
    "CLUSTERDOWN": "its cluster is down",
    "NOSCRIPT": "somebody flushed its scripts",
    "BUSY": "it runs a script that does not end",
    "NOAUTH": "it wants a password",
    "WRONGPASS": "it refuses the password",
    "NOPERM": "its access list forbids a command",
    "MOVED": "it is a node of a cluster and not the one for this broker",
}


class GroupLost(StoreUnavailable):
    """The consumer group, or the whole stream, is not there any more."""


def code_of(message: str) -> str:
    word = message.partition(" ")[0]
    return word if word.isupper() else "ERR"


def fault_of(message: str) -> StoreFault:
    """`message` as Redis sent it, code first."""
    code = code_of(message)
    if code in _FULL:
        return StoreFull(f"Redis refuses to write: {_FULL[code]}")
    if code == "NOGROUP" or "requires the key to exist" in message:
        return GroupLost(f"Redis: {message}")
    if code in _AWAY:
        return StoreUnavailable(f"Redis: {_AWAY[code]}")
    return StoreFault(f"Redis: {message}")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says about itself when we connect."""

    run_id: str = ""
    version: str = ""
    durability: str = RELAXED
    unfit: str = ""  # why it cannot be used at all
    warnings: tuple[str, ...] = ()


def judge(info: Mapping[str, str], config: Mapping[str, str]) -> Server:
    """`info`: INFO's fields. `config`: CONFIG GET, empty where a provider hides it."""
    version = info.get("redis_version", "")
    unfit = ""
    if _numbers(version) < (7, 0):
        unfit = f"Redis {version or '?'}: 7.0 or later is needed"
    elif info.get("role") == "slave":
        unfit = "Redis: it is a replica: the master moved"
    elif info.get("loading", "0") != "0":
        unfit = "Redis: it is loading its file"
    warnings = []
    aof = info.get("aof_enabled") == "1"
    fsync = config.get("appendfsync", "")
    if not aof:
        durability = "memory"
        warnings.append("appendonly is off: a restart of Redis loses what was accepted; set `appendonly yes`")
    elif fsync == "always":
        durability = "fsync"
    else:
        durability = RELAXED
        said = f"appendfsync is {fsync}" if fsync else "appendfsync cannot be read"
        warnings.append(f"{said}: a crash of the machine may lose the last second; set `appendfsync always`")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory", "0") != "0":
        warnings.append(f"maxmemory-policy is {policy}: Redis may throw streams away; set `noeviction`")
    return Server(
        run_id=info.get("run_id", ""),
        version=version,
        durability=durability,
        unfit=unfit,
        warnings=tuple(warnings),
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
