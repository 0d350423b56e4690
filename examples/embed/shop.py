"""The gateway inside your own program: you say where requests go, it serves them. No control plane, no files.

python3 shop.py LISTEN_PORT STABLE CANARY     # e.g. 8080 127.0.0.1:9001 127.0.0.1:9002
"""

import asyncio
import contextlib
import os
import sys

from activator.admission import Activator
from activator.hold import HoldSettings
from dataplane.net.engine import Engine
from dataplane.resources.snapshot import Endpoint, Path, Revision, Route, Rule, Snapshot, Split
from dataplane.telemetry.metrics import Registry
from gateway.accept import Gateway
from gateway.settings import GatewaySettings


def view(generation: int, stable: str, canary: str, share: int) -> Snapshot:
    """Everything the gateway knows: one host, two revisions, `share` percent to the second."""
    splits = (Split(revision="shop/stable", percent=100 - share), Split(revision="shop/canary", percent=share))
    route = Route(namespace="shop", name="shop", rules=(Rule(hosts=("shop.localhost",), paths=(Path(splits=splits),)),))
    pods = {"stable": (Endpoint(id="s-1", address=stable),), "canary": (Endpoint(id="c-1", address=canary),)}
    revisions = {f"shop/{name}": Revision(namespace="shop", name=name, endpoints=pods[name]) for name in pods}
    return Snapshot(generation=generation, routes={"shop/shop": route}, revisions=revisions)


async def main(port: int, stable: str, canary: str) -> None:
    loop, enter = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(0, lambda: enter.set() if os.read(0, 1000) else loop.remove_reader(0))
    engine = Engine(loop=loop, registry=Registry())
    activator = Activator(engine=engine, settings=HoldSettings())
    gateway = Gateway(engine=engine, admission=activator, settings=GatewaySettings())
    host, port = await gateway.listen("127.0.0.1", port)
    print(f"listening on http://{host}:{port}", flush=True)
    try:
        for generation, share in enumerate((0, 10, 50, 100)):  # each one takes effect with the next request
            for part in (activator, gateway):
                part.apply(view(generation, stable, canary, share))
            print(f"canary gets {share} %", flush=True)
            await enter.wait()  # for the next step
            enter.clear()
    finally:
        await gateway.drain()
        await engine.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), *sys.argv[2:4]))
