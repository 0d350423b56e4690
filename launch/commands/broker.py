"""`dataplane broker`: the event path as a process of its own."""

from pathlib import Path

import click

from launch.hop_options import process_options, source_of, source_options
from launch.options import data_option


@click.command(short_help="Run a broker alone: ingress, dispatcher or both.")
@click.option("--http", default="127.0.0.1:8082", metavar="HOST:PORT", help="Producers (default 127.0.0.1:8082).")
@click.option(
    "--role",
    type=click.Choice(["all", "ingress", "dispatcher"]),
    default="all",
    help="all (default), or one half: with redis and kafka several processes share a broker.",
)
@data_option
@source_options
@process_options
def command(
    http: str,
    role: str,
    data: Path,
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
    """Run a broker alone. Prints `ready http=…` when it serves.

    \b
    dataplane broker --snapshot brokers.yaml
    dataplane broker --control http://127.0.0.1:8001 --token-file .dataplane/token --set broker.store=redis
    """
    source = source_of(control, snapshot, cache, autoscaler, token_file)
    from launch import hops, startup

    options = hops.BrokerOptions(http, admin, source, data, role)
    flags = {"log.level": log_level, "log.format": log_format}
    return startup.run(lambda ground: hops.broker(ground, options), flags, sets)
