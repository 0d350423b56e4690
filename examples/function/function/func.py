"""A Knative function: `new` gives an instance, the middleware calls `handle` with one ASGI request at a time."""

import json


def new():
    return Function()


class Function:
    def __init__(self):
        self.greeting = "Hello"

    def start(self, cfg):
        self.greeting = cfg.get("GREETING", self.greeting)

    async def handle(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        name = json.loads(body)["name"] if body else "World"
        answer = json.dumps({"message": f"{self.greeting} {name}!", "method": scope["method"]}).encode() + b"\n"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def alive(self):
        return True, "Alive"

    def ready(self):
        return True, "Ready"
