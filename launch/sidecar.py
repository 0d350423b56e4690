"""The queue-proxy's composition root: environment → queueproxy/service.py → served until SIGTERM.

Path: launch/commands/queueproxy.py → [sidecar].

Apart from hops.py because it stands beside every pod: no aiohttp, no YAML, no settings files.

Source: spec/serving.md §9.14; design/ecosystem.md §3.3.
"""

import asyncio
import os
import sys

from dataplane.clock import SYSTEM
from dataplane.runtime.process import Lifecycle, run
from dataplane.telemetry.logs import Logs
from dataplane.telemetry.metrics import Registry
from launch.instance import Failure
from queueproxy.service import Sidecar
from queueproxy.settings import read_settings

DRAIN_S = 3600.0  # the pod's grace period is the real bound: SIGKILL comes from outside


def serve() -> int:
    """Returns the exit code; mistakes in the environment are told, all of them."""
    registry = Registry()
    level = os.environ.get("DATAPLANE_LOG_LEVEL", "info")
    try:
        logs = Logs(level=level, format_="auto", stream=sys.stderr, registry=registry)
    except ValueError as error:
        raise Failure(f"DATAPLANE_LOG_LEVEL: {error}") from None

    async def compose(life: Lifecycle) -> None:
        sidecar = Sidecar(
            settings=read_settings(os.environ), loop=asyncio.get_running_loop(), registry=registry, clock=SYSTEM
        )
        try:
            await sidecar.start()
        except BaseException:
            await sidecar.close()
            raise
        life.on_stop("sidecar", sidecar.stop, within_s=DRAIN_S)
        sys.stdout.write(f"ready http=http://{sidecar.address[0]}:{sidecar.address[1]}\n")
        sys.stdout.flush()

    try:
        return run(compose)
    finally:
        logs.close()
