"""`dataplane activator`: hop 2 as a process of its own."""

import click

from launch.hop_options import process_options, source_of, source_options


@click.command(short_help="Run the activator alone (hop 2).")
@click.option("--http", default="127.0.0.1:8012", metavar="HOST:PORT", help="Listen here (default 127.0.0.1:8012).")
@source_options
@process_options
def command(
    http: str,
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
    """Run the activator alone; gateways name it with --activator. Prints `ready http=…` when it serves."""
    source = source_of(control, snapshot, cache, autoscaler, token_file)
    from launch import hops, startup

    options = hops.ActivatorOptions(http, admin, source)
    flags = {"log.level": log_level, "log.format": log_format}
    return startup.run(lambda ground: hops.activator(ground, options), flags, sets)
