"""`dataplane gateway`: hop 1 as a process of its own."""

import click

from launch.hop_options import process_options, source_of, source_options


@click.command(short_help="Run the gateway alone (hop 1).")
@click.option("--http", default="127.0.0.1:8080", metavar="HOST:PORT", help="Listen here (default 127.0.0.1:8080).")
@click.option("--local", default="", metavar="HOST:PORT", help="Listen here for cluster-local hosts (default: not).")
@click.option("--activator", "activators", multiple=True, metavar="URL", help="Separate activator (repeatable).")
@click.option("--reuse-port", is_flag=True, help="Share the port with other gateways of this machine.")
@click.option("--lifeline", type=int, default=-1, hidden=True)
@source_options
@process_options
def command(
    http: str,
    local: str,
    activators: tuple[str, ...],
    reuse_port: bool,
    lifeline: int,
    control: str,
    snapshot: str,
    cache: str,
    autoscaler: str,
    token_file: str,
    admin: str,
    sets: tuple[str, ...],
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run the gateway alone. Prints `ready http=…` when it serves.

    \b
    dataplane gateway --snapshot routes.yaml
    dataplane gateway --control http://127.0.0.1:8001 --token-file .dataplane/token
    """
    source = source_of(control, snapshot, cache, autoscaler, token_file)
    from launch import hops, startup

    options = hops.GatewayOptions(http, local, admin, source, activators, reuse_port, lifeline)
    flags = {"log.level": log_level, "log.format": log_format}
    return startup.run(lambda ground: hops.gateway(ground, options), flags, sets)
