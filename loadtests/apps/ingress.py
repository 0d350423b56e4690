"""The ingress alone: every event is confirmed at the end of the loop's turn and forgotten. PORT."""

import asyncio
import gc
import sys
from collections.abc import Sequence

import uvloop

from broker.ingress import Ingress
from broker.journal import Journal
from broker.settings import BrokerSettings
from broker.store.contract import Done, Record
from dataplane.clock import SYSTEM
from dataplane.net.engine import Engine
from dataplane.telemetry.metrics import Registry


class Nothing:
    """A log that costs nothing: one call per turn of the loop, as a group commit has."""

    def __init__(self) -> None:
        self._waiting: list[Done] = []

    def append(self, batch: Sequence[Record], done: Done) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._confirm)
        self._waiting.append(done)

    def _confirm(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(None)


async def main(port: int) -> None:
    engine = Engine(loop=asyncio.get_running_loop(), registry=Registry())
    nothing = Nothing()
    ingress = Ingress(
        engine=engine,
        settings=BrokerSettings(),
        logs=lambda broker: nothing,  # type: ignore[arg-type,return-value]
        clock=SYSTEM,
        journal=Journal(facts_max=20_000),
    )
    await ingress.listen("127.0.0.1", port)
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
