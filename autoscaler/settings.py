"""What an operator may set about an autoscaler in a process of its own.

Everything about scaling itself is Knative's: config-autoscaler and annotations (spec/serving.md §10.2).
"""

from typing import Annotated

import msgspec

from dataplane.runtime.config import Setting


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Section `autoscaler`."""

    listen: Annotated[
        str,
        Setting(
            help="host:port where gateways, activators and queue-proxies report.",
            why="Loopback: reporters run on the same machine. Elsewhere, set a token.",
        ),
    ] = "127.0.0.1:8081"
    control: Annotated[
        str,
        Setting(help="URL of the control plane that is followed and told.", why="The API of `dataplane up`."),
    ] = "http://127.0.0.1:8001"
