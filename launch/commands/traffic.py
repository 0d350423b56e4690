"""`dataplane traffic`: who gets which share of a Service's requests."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch.options import Seconds, complete_services, data_option, namespace_option

if TYPE_CHECKING:
    from launch.client import Object

_CONFLICTS_MAX = 5


@click.command(short_help="Split the traffic of a Service between revisions.")
@click.argument("service", shell_complete=complete_services)
@click.argument("shares", nargs=-1, metavar="[REVISION=PERCENT]...")
@namespace_option
@data_option
@click.option("--tag", "tags", multiple=True, metavar="REVISION=NAME", help="Give a revision a host of its own.")
@click.option("--untag", "untags", multiple=True, metavar="NAME", help="Take a tag away.")
@click.option("--wait/--no-wait", default=True, help="Return when the new split is in force (default).")
@click.option("--wait-timeout", type=Seconds(), default=60.0, help="Give up after this (exit code 124); default 60s.")
def command(
    service: str,
    shares: tuple[str, ...],
    namespace: str,
    data: Path,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    wait: bool,
    wait_timeout: float,
) -> int:
    """Split the traffic of SERVICE. Without shares or tags: print the present split.

    \b
    dataplane traffic hello hello-00002=10 @latest=90
    dataplane traffic hello --tag hello-00001=old
    """
    from launch.client import ServerError, connect, path_of
    from launch.names import kind_named
    from launch.progress import wait_ready
    from launch.split import new_traffic

    kind, client = kind_named("ksvc"), connect(data)
    path = path_of(kind, namespace, service)
    state = client.get(path)
    if shares or tags or untags:
        for attempt in range(_CONFLICTS_MAX):
            try:
                traffic = new_traffic(state["spec"].get("traffic", []), shares, tags=tags, untags=untags)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            version = state["metadata"]["resourceVersion"]
            try:
                state = client.merge(path, {"metadata": {"resourceVersion": version}, "spec": {"traffic": traffic}})
                break
            except ServerError as error:  # somebody else (the reconciler, another client) wrote in between
                if error.code != 409 or attempt == _CONFLICTS_MAX - 1:
                    raise
                state = client.get(path)
        if wait:
            state = wait_ready(client, kind, namespace, service, timeout_s=wait_timeout, say=_say)
    for line in shown(state):
        click.echo(line)
    return 0


def shown(state: "Object") -> list[str]:
    """The split as lines: percent, bar, revision, tag, URL of the tag."""
    from launch.tables import aligned, bar

    found = state.get("status", {}).get("traffic") or state["spec"].get("traffic", [])
    rows = []
    for one in found:
        percent, revision = int(one.get("percent") or 0), one.get("revisionName", "")
        name = f"@latest ({revision})" if one.get("latestRevision") else revision
        tag = f"#{one['tag']}" if one.get("tag") else ""
        rows.append((f"{percent:3d}%", bar(percent), name, tag, one.get("url", "")))
    return aligned(rows, gap=2)


def _say(line: str) -> None:
    click.echo(line, err=True)
