"""What an operator may set on the gateway: unit, default, bounds, why."""

from typing import Annotated

import msgspec

from dataplane.runtime.config import Setting


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Section `gateway`."""

    trusted_proxies: Annotated[
        tuple[str, ...],
        Setting(
            help="CIDRs whose X-Forwarded-* and Forwarded headers are believed",
            why="from anybody else they are replaced: a client could name any address",
        ),
    ] = ()
    connections_max: Annotated[
        int, Setting(help="open client connections per listener", min=1, why="each costs a descriptor and 4-8 KiB")
    ] = 16_000
    connections_per_source_max: Annotated[
        int,
        Setting(help="open connections per client address; 0 = no own limit", min=0, why="one client cannot take all"),
    ] = 0
    idle_timeout_s: Annotated[
        float, Setting(help="keep-alive without a request", unit="s", min=1, why="longer than clients keep theirs")
    ] = 60.0
    head_timeout_s: Annotated[
        float, Setting(help="first byte of a head to its end", unit="s", min=0.1, why="slow-header attacks")
    ] = 10.0
    write_stall_timeout_s: Annotated[
        float, Setting(help="response bytes that the client does not read", unit="s", min=0.1, why="slow-read attacks")
    ] = 30.0
    drain_timeout_s: Annotated[
        float, Setting(help="SIGTERM to the end of the last connection", unit="s", min=0, why="longest usual request")
    ] = 30.0
    propagation_s: Annotated[
        float,
        Setting(
            help="time between not being ready and closing the listener when draining",
            unit="s",
            min=0,
            why="load balancers need a moment to look elsewhere",
        ),
    ] = 0.0
    upstream_connect_timeout_s: Annotated[
        float, Setting(help="connecting to a pod", unit="s", min=0.01, why="two attempts must fit a client's patience")
    ] = 1.0
    upstream_idle_timeout_s: Annotated[
        float, Setting(help="idle connections to pods", unit="s", min=0.1, why="shorter than pods keep theirs")
    ] = 50.0
