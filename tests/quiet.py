"""Reading what comes until nothing comes any more, on a machine that may stop this process for longer than that."""

import asyncio

TURN_S = 0.01


async def read_until_quiet(
    reader: asyncio.StreamReader, *, first_s: float = 1.0, quiet_s: float = 0.15, limit_s: float = 30.0
) -> bytes:
    """What comes until the end of the connection, or until nothing came for a while.

    first_s: before the first byte, quiet_s: after one. The while is counted in turns of the loop too: the hops of a test
    share it, so a process that did not run has made none of them quiet.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    out = b""
    reading = loop.create_task(reader.read(65536))
    turns = 0
    while loop.time() < deadline and turns < (quiet_s if out else first_s) / TURN_S:
        turns += 1
        await asyncio.wait({reading}, timeout=TURN_S)
        if not reading.done():
            continue
        if reading.exception() is not None or not reading.result():
            break
        out += reading.result()
        reading, turns = loop.create_task(reader.read(65536)), 0
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return out
