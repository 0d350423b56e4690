import pytest

from broker.store.redis.faults import CUT, RELAXED, GroupLost, code_of, fault_of, judge
from dataplane.errors import StoreFault, StoreFull, StoreUnavailable

GOOD = {
    "redis_version": "7.0.15",
    "role": "master",
    "loading": "0",
    "aof_enabled": "1",
    "maxmemory": "0",
    "run_id": "a",
}


@pytest.mark.parametrize(
    ("message", "kind", "cut"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreFull, False),
        ("MISCONF Errors writing to the AOF file: No space left on device", StoreFull, False),
        ("READONLY You can't write against a read only replica.", StoreUnavailable, True),
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable, True),
        ("MASTERDOWN Link with MASTER is down", StoreUnavailable, True),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable, False),
        ("NOSCRIPT No matching script.", StoreUnavailable, True),
        ("NOAUTH Authentication required.", StoreUnavailable, True),
        ("NOPERM this user has no permissions", StoreUnavailable, False),
        ("MOVED 3999 127.0.0.1:6381", StoreUnavailable, False),
        ("NOGROUP No such consumer group 't:x' for key name 'k'", GroupLost, False),
        ("ERR The XGROUP subcommand requires the key to exist.", GroupLost, False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", StoreFault, False),
        ("ERR unknown command", StoreFault, False),
    ],
)
def test_every_refusal_has_its_meaning(message: str, kind: type[StoreFault], cut: bool) -> None:
    assert type(fault_of(message)) is kind
    assert (code_of(message) in CUT) is cut


def test_a_server_that_syncs_each_write_is_durable() -> None:
    server = judge(GOOD, {"appendfsync": "always"})
    assert (server.durability, server.unfit, server.warnings) == ("fsync", "", ())


def test_what_cannot_be_known_is_not_promised() -> None:
    server = judge(GOOD, {})
    assert server.durability == RELAXED
    assert "cannot be read" in server.warnings[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"redis_version": "6.2.14"}, "7.0 or later"),
        ({"redis_version": ""}, "7.0 or later"),
        ({"role": "slave"}, "replica"),
        ({"loading": "1"}, "loading"),
    ],
)
def test_a_server_that_cannot_be_used_is_told(change: dict[str, str], says: str) -> None:
    assert says in judge(GOOD | change, {"appendfsync": "always"}).unfit


@pytest.mark.parametrize("version", ["7.0.0", "7.4.1", "8.0.2", "10.1.0"])
def test_later_versions_are_fine(version: str) -> None:
    assert judge(GOOD | {"redis_version": version}, {"appendfsync": "always"}).unfit == ""


def test_eviction_is_warned_about_where_it_can_happen() -> None:
    evicting = {"maxmemory_policy": "allkeys-lru"}
    assert judge(GOOD | evicting, {"appendfsync": "always"}).warnings == ()
    assert "allkeys-lru" in judge(GOOD | evicting | {"maxmemory": "100"}, {"appendfsync": "always"}).warnings[0]
