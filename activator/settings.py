"""What an operator may set on the activator: unit, default, bounds, why."""

from typing import Annotated

import msgspec

from dataplane.runtime.config import Setting


class ActivatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Section `activator`."""

    queue_depth_max: Annotated[
        int,
        Setting(
            help="waiting requests of one revision", min=0, why="beyond it 503 at once: spec §15.4 left it unbounded"
        ),
    ] = 10_000
    queue_bytes_max: Annotated[
        int,
        Setting(help="bytes of waiting requests in this process", unit="bytes", min=0, why="memory is shared by all"),
    ] = 256 * 1024 * 1024
    drain_timeout_s: Annotated[
        float,
        Setting(help="SIGTERM to handing back what still waits", unit="s", min=0, why="a cold start should fit in"),
    ] = 30.0
