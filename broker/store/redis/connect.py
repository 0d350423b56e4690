"""A connection that speaks RESP 2 and raises our faults: the door to redis-py and hiredis.

Path: link.py, tail.py → [connect] → Redis.

RESP 2, because the shape of stream replies differs between protocols and between versions of the client.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from broker.store.redis.faults import fault_of
from dataplane.errors import StoreFault, StoreUnavailable

Argument = str | bytes | int
Reply = Any  # int, bytes, None, or lists of those: which, the command says

CONNECT_TIMEOUT_S = 5.0

# redis-py takes the code off the message where it knows it.
_CODES: tuple[tuple[type[RedisError], str], ...] = (
    (OutOfMemoryError, "OOM"),
    (ReadOnlyError, "READONLY"),
    (BusyLoadingError, "LOADING"),
    (NoScriptError, "NOSCRIPT"),
    (ExecAbortError, "EXECABORT"),
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (MovedError, "MOVED"),
    (NoPermissionError, "NOPERM"),
    (AuthenticationError, "NOAUTH"),
)


def pack(*command: Argument) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


def meaning(error: RedisError) -> tuple[str, StoreFault]:
    """(error code, fault) of what Redis answered."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            message = f"{code} {error}"
            break
    else:
        message = str(error)
    return message.partition(" ")[0], fault_of(message)


class Connection:
    """One connection. Every method raises StoreUnavailable once it is gone; connect again then."""

    def __init__(self, inner: AbstractConnection) -> None:
        self._inner = inner

    async def send(self, packed: Iterable[bytes]) -> None:
        try:
            await self._inner.send_packed_command(packed, check_health=False)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {error}") from None

    def write(self, packed: bytes) -> None:
        """At once, beside `send`: a little, and whether it arrived only its reply says."""
        if (writer := self._inner._writer) is not None:
            writer.write(packed)

    async def reply(self) -> Reply:
        """The next reply; what Redis refuses is returned, not raised."""
        try:
            reply: Reply = await self._inner.read_response()
            return reply
        except ResponseError as error:
            return error
        except (BusyLoadingError, AuthenticationError, ClusterDownError) as error:
            return error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {error}") from None

    async def ask(self, *command: Argument) -> Reply:
        """Raises StoreFault."""
        await self.send((pack(*command),))
        reply = await self.reply()
        if isinstance(reply, RedisError):
            raise meaning(reply)[1]
        return reply

    async def close(self) -> None:
        try:
            await self._inner.disconnect(nowait=True)
        except (RedisError, OSError):
            pass


async def connect(url: str) -> Connection:
    """Raises StoreFault."""
    try:
        pool = ConnectionPool.from_url(
            url, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_read_size=262144
        )
        inner = pool.make_connection()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
            await inner.connect()
    except ResponseError as error:
        raise meaning(error)[1] from None
    except TimeoutError:
        raise StoreUnavailable("Redis: no answer to a connection") from None
    except (BusyLoadingError, AuthenticationError) as error:
        raise meaning(error)[1] from None
    except (RedisError, OSError, ValueError) as error:
        raise StoreUnavailable(f"Redis: {error}") from None
    return Connection(inner)
