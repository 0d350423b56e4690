"""`dataplane delete`: by kind and name, by selector, or everything that a file names."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch.options import Seconds, complete_targets, data_option, namespace_option

if TYPE_CHECKING:
    from dataplane.resources.kinds import Kind
    from launch.client import Client

_POLL_S = 0.1


@click.command(short_help="Delete resources by name or from files.")
@click.argument("what", nargs=-1, shell_complete=complete_targets)
@namespace_option
@data_option
@click.option("-f", "--filename", "files", multiple=True, metavar="PATH", help="File, folder or - (repeatable).")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--all", "everything", is_flag=True, help="Every object of the kind in the namespace.")
@click.option("--ignore-not-found", is_flag=True, help="What is not there is no error.")
@click.option("--wait/--no-wait", default=True, help="Return when they are gone (default).")
@click.option("--wait-timeout", type=Seconds(), default=60.0, help="Give up after this (exit code 124); default 60s.")
def command(
    what: tuple[str, ...],
    namespace: str,
    data: Path,
    files: tuple[str, ...],
    selector: str,
    everything: bool,
    ignore_not_found: bool,
    wait: bool,
    wait_timeout: float,
) -> int:
    """Delete resources: TYPE NAME …, TYPE/NAME …, TYPE --all, TYPE -l SELECTOR, or -f PATH."""
    from launch.client import ServerError, connect, path_of

    if bool(what) == bool(files):
        raise click.UsageError("give either TYPE NAME or -f PATH")
    client = connect(data)
    doomed = _from_files(files, namespace) if files else _from_words(client, what, namespace, selector, everything)
    if not doomed:
        click.echo("No resources found", err=True)
    code = 0
    gone: list[tuple[Kind, str, str]] = []
    for kind, place, name in doomed:
        try:
            client.delete(path_of(kind, place, name))
        except ServerError as error:
            if error.code != 404 or not ignore_not_found:
                error.show()
                code = 1
            continue
        shown = f"{kind.singular}.{kind.group}" if kind.group else kind.singular
        click.echo(f'{shown} "{name}" deleted')
        gone.append((kind, place, name))
    if wait:
        _wait_gone(client, gone, wait_timeout)
    return code


def _from_words(
    client: "Client", what: tuple[str, ...], namespace: str, selector: str, everything: bool
) -> list[tuple["Kind", str, str]]:
    from launch.client import path_of
    from launch.names import targets

    out = []
    for target in targets(what):
        if target.name:
            out.append((target.kind, namespace, target.name))
        elif selector or everything:
            body = client.get(path_of(target.kind, namespace, labelSelector=selector))
            out += [(target.kind, namespace, item["metadata"]["name"]) for item in body["items"]]
        else:
            raise click.UsageError(f"name the {target.kind.plural} to delete, or say --all or -l SELECTOR")
    return out


def _from_files(files: tuple[str, ...], namespace: str) -> list[tuple["Kind", str, str]]:
    """In the reverse order of the files, so that what came last goes first."""
    from dataplane.resources.kinds import BY_STRUCT
    from launch.manifests import read

    out = []
    for parsed in reversed(read(files)):
        kind, meta = BY_STRUCT[type(parsed.object)], parsed.object.metadata
        out.append((kind, (meta.namespace or namespace) if kind.namespaced else "", meta.name))
    return out


def _wait_gone(client: "Client", gone: list[tuple["Kind", str, str]], timeout_s: float) -> None:
    from dataplane.clock import SYSTEM
    from launch.client import ServerError, path_of
    from launch.instance import TimedOut

    deadline = SYSTEM.monotonic() + timeout_s
    for kind, place, name in gone:
        while True:
            try:
                client.get(path_of(kind, place, name))
            except ServerError as error:
                if error.code == 404:
                    break
                raise
            if SYSTEM.monotonic() >= deadline:
                raise TimedOut(
                    f"{kind.singular} {name!r} is still there after {timeout_s:g} s (finalizers, or a drain)"
                )
            time.sleep(_POLL_S)
