"""Says each argument to the echo and prints what comes back. The address is this machine, the Host header has the name.

python3 talk.py hello again        # another port: PORT=8090 python3 talk.py hello
"""

import asyncio
import os
import sys

import aiohttp


async def main(words):
    url = f"ws://127.0.0.1:{os.environ.get('PORT', '8080')}/"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers={"Host": "echo.default.localhost"}) as socket,
    ):
        for word in words:
            await socket.send_str(word)
            print(await socket.receive_str())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["hello"]))
