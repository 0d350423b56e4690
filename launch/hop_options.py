"""Options that the hop commands share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from launch.hops import Source

F = TypeVar("F", bound=Callable[..., Any])


def source_options(command: F) -> F:
    """--control, --snapshot, --cache, --autoscaler, --token-file → `source: Source` by `source_of`."""
    for option in reversed(
        (
            click.option(
                "--control", default="", metavar="URL", help="Follow the snapshot of this control plane's API."
            ),
            click.option("--snapshot", default="", metavar="FILE", help="Follow a snapshot in a YAML or JSON file."),
            click.option("--cache", default="", metavar="FILE", help="Keep the last good snapshot of --control here."),
            click.option("--autoscaler", default="", metavar="URL", help="Report concurrency to this autoscaler."),
            click.option("--token-file", default="", metavar="FILE", help="Bearer token for --control, --autoscaler."),
        )
    ):
        command = option(command)
    return command


def source_of(control: str, snapshot: str, cache: str, autoscaler: str, token_file: str) -> "Source":
    """Raises UsageError when it is not clear where the snapshot comes from."""
    from launch.hops import Source
    from launch.startup import token_from

    if bool(control) == bool(snapshot):
        raise click.UsageError("say where the snapshot comes from: --control URL or --snapshot FILE")
    return Source(control, snapshot, cache, autoscaler, token_from(token_file))


def process_options(command: F) -> F:
    """--admin, --set, --log-level, --log-format."""
    for option in reversed(
        (
            click.option(
                "--admin", default="127.0.0.1:0", metavar="HOST:PORT", help="Metrics and health; empty = none."
            ),
            click.option(
                "--set", "sets", multiple=True, metavar="SECTION.FIELD=VALUE", help="Any setting of `dataplane config`."
            ),
            click.option("--log-level", default=None, help="debug, info, warning or error."),
            click.option("--log-format", default=None, help="auto, text or json."),
        )
    ):
        command = option(command)
    return command
