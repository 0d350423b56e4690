"""The stores that `dataplane broker` can run on, each with its real server: what to tell the broker, how to hurt the server."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests import redisserver
from tests.servers.kafka import server as kafka


class Behind(NamedTuple):
    """arguments: for `dataplane broker`. away, back: stop the server's answers, and let it go on."""

    arguments: tuple[str, ...]
    away: Callable[[], None]
    back: Callable[[], None]


@contextlib.contextmanager
def shared(store: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Arguments only; Kafka is the one of all tests, so nobody may hurt it."""
    if store == "kafka":
        yield ("--set", f"broker.kafka_bootstrap={kafka.required()}")
    else:
        with own(store, folder) as behind:
            yield behind.arguments


@contextlib.contextmanager
def own(store: str, folder: Path) -> Iterator[Behind]:
    """A server of this test alone."""
    if store == "redis":
        server = redisserver.RedisServer(folder / "redis").start()
        try:
            yield Behind(("--set", f"broker.redis_url={server.url}"), server.freeze, server.thaw)
        finally:
            server.thaw()
            server.kill()
    elif store == "kafka":
        kafka.required()
        broker = kafka.Server(folder / "kafka")
        broker.start()
        try:
            yield Behind(("--set", f"broker.kafka_bootstrap={broker.bootstrap}"), broker.freeze, broker.thaw)
        finally:
            broker.thaw()
            broker.kill()
    else:
        yield Behind((), lambda: None, lambda: None)
