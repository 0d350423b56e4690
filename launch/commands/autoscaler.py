"""`dataplane autoscaler`: the autoscaler as a process of its own."""

import click

from launch.hop_options import process_options


@click.command(short_help="Run the autoscaler alone.")
@click.option("--listen", default=None, metavar="HOST:PORT", help="Take stats here (default 127.0.0.1:8081).")
@click.option("--control", default=None, metavar="URL", help="The control plane's API (default http://127.0.0.1:8001).")
@click.option("--token-file", default="", metavar="FILE", help="Bearer token for --control, and of reporters.")
@process_options
def command(
    listen: str | None,
    control: str | None,
    token_file: str,
    admin: str,
    sets: tuple[str, ...],
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run the autoscaler alone. Prints `ready stats=…` when it listens.

    \b
    dataplane up --autoscaler http://127.0.0.1:8081
    dataplane autoscaler --control http://127.0.0.1:8001 --token-file .dataplane/token
    """
    from launch import hops, startup

    token = startup.token_from(token_file)
    flags = {
        "autoscaler.listen": listen,
        "autoscaler.control": control,
        "log.level": log_level,
        "log.format": log_format,
    }
    return startup.run(lambda ground: hops.autoscaler(ground, token, admin), flags, sets)
