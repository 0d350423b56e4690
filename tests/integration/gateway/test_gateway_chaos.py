"""Clients and pods that do anything at any moment; afterwards nothing may be left: no slot, no waiter, no connection.

Hypothesis draws what a handful of clients and the pod behind them do; everything runs on real sockets.

Source: reliability.md GW-13…GW-25, AC-02, AC-09; §3.1.1.
"""

import asyncio
import contextlib
import random
import socket
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activator.hold import HoldSettings
from dataplane.resources.snapshot import Revision, Snapshot
from gateway.settings import GatewaySettings

HOST = b"hello.default.localhost"
KEY = "default/hello-00001"
EXAMPLES = 30
CLIENT_S = 0.3  # no client stays longer

# ---- the pod -----------------------------------------------------------------------------------------

ANSWERS = {
    b"ok": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n",
    b"interim": b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    b"odd204": b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"excess": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    b"garbage": b"nonsense\r\n\r\n",
    b"unasked101": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    b"busy": b"HTTP/1.1 503 Busy\r\nx-dp-not-processed: true\r\ncontent-length: 0\r\n\r\n",
    b"short": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    b"shortchunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"untilclose": b"HTTP/1.1 200 OK\r\n\r\nall of it",
    b"big": b"HTTP/1.1 200 OK\r\ncontent-length: 700000\r\n\r\n" + b"x" * 700_000,
    b"silent": b"",
}
AFTER = (b"stay", b"close", b"reset", b"eof", b"linger")
WHEN = (b"head", b"body", b"late")


def reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, AttributeError):  # uvloop has no socket any more after a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def pod(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    try:
        await _pod(reader, writer, head)
    except RuntimeError:  # uvloop's word for a transport that is gone
        raise ConnectionError from None


async def _pod(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
    """Does what the target says: /<answer>/<when>/<after>."""
    what, when, after = (*head.split(b" ")[1].strip(b"/").split(b"/"), b"", b"", b"")[:3]
    if what not in ANSWERS:
        what, when, after = b"ok", b"body", b"stay"
    lower = head.lower()
    if when != b"head":
        if b"content-length:" in lower:
            await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding:" in lower:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
    if when == b"late":
        await asyncio.sleep(0.03)
    if b"upgrade: websocket" in lower and what == b"ok":
        writer.write(ANSWERS[b"unasked101"])
        while data := await reader.read(4096):
            writer.write(data)
        raise ConnectionError
    writer.write(ANSWERS[what])
    await writer.drain()
    if after == b"close" or what in (b"untilclose", b"short", b"shortchunked"):
        raise ConnectionError
    if after == b"reset":
        reset(writer)
        raise ConnectionError
    if after == b"eof":
        with contextlib.suppress(OSError):
            writer.write_eof()
        await reader.read()
        raise ConnectionError
    if after == b"linger" or when == b"head":
        await asyncio.sleep(0.02)
        if when == b"head" and (b"content-length:" in lower or b"transfer-encoding:" in lower):
            raise ConnectionError  # the body was never read: what follows it cannot be found


# ---- the clients ---------------------------------------------------------------------------------------

TARGET = st.tuples(st.sampled_from(sorted(ANSWERS)), st.sampled_from(WHEN), st.sampled_from(AFTER)).map(
    lambda t: b"/" + b"/".join(t)
)
KINDS = st.sampled_from(
    ["get", "head", "sized", "large", "chunked", "badchunk", "expect", "websocket", "old", "broken"]
)


def request(kind: str, target: bytes) -> bytes:
    host = b"\r\nhost: " + HOST + b"\r\n"
    line = b" " + target + b" HTTP/1.1" + host
    return {
        "get": b"GET" + line + b"\r\n",
        "head": b"HEAD" + line + b"\r\n",
        "sized": b"PUT" + line + b"content-length: 5\r\n\r\nhello",
        "large": b"POST" + line + b"content-length: 400000\r\n\r\n" + b"y" * 400_000,
        "chunked": b"POST" + line + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "badchunk": b"PUT" + line + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n\r\n",
        "expect": b"POST" + line + b"content-length: 5\r\nexpect: 100-continue\r\n\r\nhello",
        "websocket": b"GET" + line + b"connection: upgrade\r\nupgrade: websocket\r\n\r\nframes",
        "old": b"GET " + target + b" HTTP/1.0" + host + b"connection: keep-alive\r\n\r\n",
        "broken": b"GET" + line + b"bad field\r\n\r\n",
    }[kind]


CLIENT = st.fixed_dictionaries(
    {
        "requests": st.lists(st.tuples(KINDS, TARGET), min_size=1, max_size=4),
        "cut": st.one_of(st.just(1.0), st.floats(0.0, 1.0)),  # how much of it is ever sent
        "pieces": st.integers(1, 4),
        "pause_s": st.sampled_from([0.0, 0.002, 0.02]),
        "read": st.sampled_from(["all", "some", "none"]),
        "end": st.sampled_from(["reset", "close", "half_close", "wait"]),
    }
)
PLAN = st.fixed_dictionaries(
    {
        "clients": st.lists(CLIENT, min_size=1, max_size=8),
        "concurrency": st.sampled_from([0, 0, 1, 2]),
        "cold_s": st.sampled_from([0.0, 0.0, 0.05]),  # no pod is listed at first
        "change": st.booleans(),  # the revision is published again meanwhile
    }
)


async def client(house, plan: dict) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port, limit=1 << 20)
    data = b"".join(request(kind, target) for kind, target in plan["requests"])
    data = data[: int(len(data) * plan["cut"])]
    step = len(data) // plan["pieces"] + 1
    with contextlib.suppress(OSError, TimeoutError, RuntimeError):
        async with asyncio.timeout(CLIENT_S):
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
                await asyncio.sleep(plan["pause_s"])
            if plan["end"] == "half_close":
                writer.write_eof()
            if plan["read"] == "all":
                while await reader.read(1 << 16):
                    pass
            elif plan["read"] == "some":
                await reader.read(50)
            if plan["end"] == "wait":
                await asyncio.sleep(0.1)
    if plan["end"] == "reset":
        reset(writer)
    else:
        writer.transport.abort()  # close(2) now, whatever is not sent yet


# ---- what must hold afterwards ---------------------------------------------------------------------------


def left_over(house) -> list[str]:
    """What is still there, in words; empty when everything has been given back."""
    found = []
    hold = house.activator.hold(KEY)
    budget, pool = house.engine.retry_budget, house.engine.pool
    facts = {
        "in_flight": sum(p.in_flight for p in hold.pods.values()),
        "running": hold.meter.running,
        "depth": hold.depth,
        "queued bytes": house.activator._bytes.waiting,
        "budget.active": budget.active,
        "budget.retrying": budget.retrying,
        "pool tasks": len(pool._tasks),
        "gateway connections": sum(len(listener) for listener in house.gateway._listeners),
    }
    found += [f"{name}={value}" for name, value in facts.items() if value]
    idle = [c for place in pool._origins.values() for c in place.idle]
    for origin, place in pool._origins.items():
        if place.waiting or place.dialling:
            found.append(f"{origin}: waiting={len(place.waiting)} dialling={place.dialling}")
    for connection in idle:
        if connection.user is not None or connection.closed or connection.tunnel or connection.blocked:
            found.append(f"idle but in use: {connection.user} {connection.closed=} {connection.tunnel=}")
        if not connection._transport.is_reading():
            found.append("idle and paused")
    if pool._open.v != len(idle):
        found.append(f"{pool._open.v} upstream connections are open, {len(idle)} are idle")
    if house.separate and (behind := len(house.server._listener)) > len(idle):
        found.append(f"{behind} connections to the activator")
    return found


async def storm(house, plan: dict) -> None:
    house.publish([] if plan["cold_s"] else [house.origin], container_concurrency=plan["concurrency"])
    running = [asyncio.create_task(client(house, c)) for c in plan["clients"]]
    if plan["cold_s"]:
        await asyncio.sleep(plan["cold_s"])
        house.publish([house.origin], container_concurrency=plan["concurrency"])
    if plan["change"]:
        await asyncio.sleep(0.01)
        house.publish([house.origin], container_concurrency=plan["concurrency"], timeout_s=20.0)
    results = await asyncio.gather(*running, return_exceptions=True)
    assert not [r for r in results if r is not None and not isinstance(r, OSError)], results
    deadline = asyncio.get_running_loop().time() + 30
    while left := left_over(house):
        assert asyncio.get_running_loop().time() < deadline, f"{left} after {plan}"
        await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        assert (await house.get("/"))[2] == b"ok"


async def quiet(loop: asyncio.AbstractEventLoop) -> list[dict]:
    """Every exception that escapes a callback ends up here."""
    escaped: list[dict] = []

    def heard(_: asyncio.AbstractEventLoop, context: dict) -> None:
        if not context["message"].endswith("client_connected_cb"):  # the pod of this test, whose socket is gone
            escaped.append(context)

    loop.set_exception_handler(heard)
    return escaped


async def chaos(house, plans: st.SearchStrategy[dict], examples: int) -> None:
    loop = asyncio.get_running_loop()
    escaped = await quiet(loop)
    house.origin.answer = pod
    house.publish([house.origin])

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(plans)
    def check(plan: dict) -> None:
        asyncio.run_coroutine_threadsafe(storm(house, plan), loop).result()
        assert not escaped

    await asyncio.to_thread(check)


async def test_whatever_clients_and_pods_do_nothing_is_left_over(make_house):
    house = await make_house(GatewaySettings(write_stall_timeout_s=2.0), HoldSettings())
    await chaos(house, PLAN, EXAMPLES)


async def test_a_hundred_clients_that_abort_at_random_leave_nothing(house):
    """The same, denser: one seeded crowd at once instead of a few."""
    rng = random.Random(9)
    house.origin.answer = pod
    escaped = await quiet(asyncio.get_running_loop())
    for _ in range(3):
        clients = [
            {
                "requests": [
                    (
                        rng.choice(["get", "sized", "large", "chunked", "expect", "websocket", "old"]),
                        b"/" + b"/".join((rng.choice(sorted(ANSWERS)), rng.choice(WHEN), rng.choice(AFTER))),
                    )
                    for _ in range(rng.randint(1, 3))
                ],
                "cut": rng.choice((1.0, 1.0, rng.random())),
                "pieces": rng.randint(1, 3),
                "pause_s": rng.choice((0.0, 0.005)),
                "read": rng.choice(("all", "some", "none")),
                "end": rng.choice(("reset", "close", "half_close", "wait")),
            }
            for _ in range(100)
        ]
        await storm(house, {"clients": clients, "concurrency": rng.choice((0, 5)), "cold_s": 0.0, "change": True})
    assert not escaped


async def test_a_revision_that_goes_away_in_the_storm_leaves_nothing(house):
    rng = random.Random(10)
    house.origin.answer = pod
    clients = [
        {
            "requests": [
                (rng.choice(["get", "sized", "large"]), b"/" + rng.choice((b"ok", b"silent", b"big")) + b"/late/stay")
            ],
            "cut": 1.0,
            "pieces": 1,
            "pause_s": 0.0,
            "read": "all",
            "end": "close",
        }
        for _ in range(30)
    ]
    hold = house.activator.hold(KEY)
    running = [asyncio.create_task(client(house, c)) for c in clients]
    await asyncio.sleep(0.05)
    house.apply(Snapshot(generation=house.generation + 1))
    await asyncio.gather(*running, return_exceptions=True)
    deadline = asyncio.get_running_loop().time() + 30
    while hold.meter.running or house.engine.retry_budget.active or any(p.in_flight for p in hold.pods.values()):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    house.generation += 1
    house.publish([house.origin])
    assert isinstance(house.gateway.snapshot.revisions[KEY], Revision)
    assert (await house.get("/"))[0] == 200
