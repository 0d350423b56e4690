"""The example for embedders runs as it stands: a program of its own that applies snapshots to a gateway."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from tests.eventload import History, Producer, Subscriber

ROOT = Path(__file__).resolve().parents[2]
STRICT = ("-X", "dev", "-W", "error")


async def test_the_example_moves_traffic_with_every_snapshot():
    stable, canary = await named(b"stable"), await named(b"canary")
    command = [sys.executable, str(ROOT / "examples" / "embed" / "shop.py"), "0", address(stable), address(canary)]
    program = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert program.stdout is not None
    assert program.stdin is not None
    try:
        async with asyncio.timeout(30):
            port = int((await program.stdout.readline()).rsplit(b":", 1)[1])
            found = []
            for share in (0, 10, 50, 100):
                assert await program.stdout.readline() == f"canary gets {share} %\n".encode()
                found.append(await tally(port, 400))
                program.stdin.write(b"\n")
            program.stdin.close()
            assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
        stable.close()
        canary.close()
    assert found[0] == {b"stable": 400}
    assert 10 <= found[1][b"canary"] <= 80
    assert 130 <= found[2][b"canary"] <= 270
    assert found[3] == {b"canary": 400}


async def test_the_example_of_a_gateway_ends_with_ctrl_c_while_it_waits_for_enter():
    command = [sys.executable, *STRICT, str(ROOT / "examples" / "embed" / "shop.py"), "0", "127.0.0.1:9", "127.0.0.1:9"]
    program = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        async with asyncio.timeout(30):
            await program.stdout.readuntil(b"canary gets 0 %\n")
            program.send_signal(signal.SIGINT)
            assert await program.stderr.read() == b""
            assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def named(name: bytes) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}"


async def tally(port: int, count: int) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        found[await reader.readexactly(6)] += 1
    writer.close()
    await writer.wait_closed()
    return found


async def test_the_example_of_a_broker_delivers_what_it_accepted(tmp_path: Path):
    history = History(tmp_path / "history.jsonl")
    subscriber = Subscriber(history)
    await subscriber.start()
    example = str(ROOT / "examples" / "embed" / "events.py")
    program = await asyncio.create_subprocess_exec(
        sys.executable, *STRICT, example, "0", str(tmp_path / "events"), f"{subscriber.address}/bill",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        async with asyncio.timeout(30):
            url = (await program.stdout.readline()).split()[-1].decode()
            port = int(url.rsplit(":", 1)[1].partition("/")[0])
            producer = Producer(history, port, "/shop/main", rate=200, connections=4)
            await asyncio.sleep(0.5)
            await producer.stop()
            while history.missing("bill"):
                await asyncio.sleep(0.02)
            second = await asyncio.create_subprocess_exec(
                sys.executable, example, "0", str(tmp_path / "events"), f"{subscriber.address}/bill",
                stderr=asyncio.subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            said = (await second.communicate())[1].decode()
            assert "in use by another process" in said
            assert said.endswith("shop/main is not ready; the line above says why\n")
            program.send_signal(signal.SIGINT)
            assert await program.stderr.read() == b""
            assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
        await subscriber.stop()
        history.close()
    assert history.acknowledged
