"""Sockets whose peer leaves while nobody reads from them. Source: reliability.md GW-23."""

import asyncio
import socket
import struct

import pytest

from dataplane.net.leaving import Leaving


@pytest.fixture
def pair():
    """(ours, theirs): two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
async def leaving():
    made = Leaving(asyncio.get_running_loop())
    yield made
    made.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
@pytest.mark.parametrize("first", ["watched", "left"])
async def test_a_peer_that_leaves_behind_bytes_that_nobody_reads_is_told_once(leaving, pair, leave, first):
    ours, theirs = pair
    theirs.send(b"unread")
    told = asyncio.Event()
    if first == "left":
        leave(theirs)
    leaving.watch(ours.fileno(), told.set)
    if first == "watched":
        await asyncio.sleep(0.01)
        assert not told.is_set()
        leave(theirs)
    async with asyncio.timeout(30):
        await told.wait()
    assert len(leaving) == 0


async def test_without_fin_only_a_reset_counts(leaving, pair):
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    told = asyncio.Event()
    leaving.watch(ours.fileno(), told.set, fin=False)
    await asyncio.sleep(0.02)
    assert not told.is_set()
    ours.send(b"x")
    await asyncio.sleep(0.01)
    theirs.close()  # with a byte unread: RST
    async with asyncio.timeout(30):
        await told.wait()


async def test_who_is_forgotten_is_not_told_and_forgets_nobody_else(leaving, pair):
    ours, theirs = pair
    told: list[str] = []

    def one() -> None:
        told.append("one")

    def other() -> None:
        told.append("other")

    leaving.watch(ours.fileno(), one)
    leaving.watch(ours.fileno(), other)  # the descriptor is another connection's by now
    leaving.forget(ours.fileno(), one)
    theirs.close()
    async with asyncio.timeout(30):
        while not told:
            await asyncio.sleep(0.01)
    assert told == ["other"]
    leaving.watch(ours.fileno(), one)
    leaving.forget(ours.fileno(), one)
    await asyncio.sleep(0.02)
    assert told == ["other"]
