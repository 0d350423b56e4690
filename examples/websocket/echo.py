"""A WebSocket echo; a plain GET says how to use it."""

import os

from aiohttp import WSMsgType, web


async def echo(request):
    socket = web.WebSocketResponse()
    if not socket.can_prepare(request):
        return web.Response(text="a WebSocket is wanted here: Upgrade: websocket\n")
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/{path:.*}", echo)
    web.run_app(app, port=int(os.environ["PORT"]), print=None)
