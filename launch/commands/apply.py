"""`dataplane apply`: everything in the files, or nothing; every mistake at once, with its place."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launch.options import Seconds, data_option, namespace_option

if TYPE_CHECKING:
    from launch.client import Client, Object


@click.command(short_help="Create or update resources from files, all or none.")
@click.option("-f", "--filename", "files", multiple=True, required=True, metavar="PATH", help="File, folder or -.")
@namespace_option
@data_option
@click.option("-R", "--recursive", is_flag=True, help="Also the folders inside folders.")
@click.option(
    "--dry-run", type=click.Choice(["none", "client", "server"]), default="none", help="Check, write nothing."
)
@click.option("-o", "--output", default="", metavar="FORMAT", help="Print the result: yaml, json or name.")
@click.option("--wait/--no-wait", default=False, help="Return when every Service, Broker and Trigger is Ready.")
@click.option("--wait-timeout", type=Seconds(), default=60.0, help="Give up after this (exit code 124); default 60s.")
def command(
    files: tuple[str, ...],
    namespace: str,
    data: Path,
    recursive: bool,
    dry_run: str,
    output: str,
    wait: bool,
    wait_timeout: float,
) -> int:
    """Create or update everything in the files. One mistake anywhere, and nothing is written.

    \b
    dataplane apply -f examples/hello/ --wait
    cat service.yaml | dataplane apply -f -
    """
    from launch.client import ServerError, connect, path_of
    from launch.instance import Failure
    from launch.manifests import checked, placed
    from launch.names import kind_named

    if output not in ("", "yaml", "json", "name"):
        raise click.UsageError(f"-o {output}: expected yaml, json or name")
    client = connect(data) if dry_run != "client" else None
    config_maps: dict[str, dict[str, str]] = {}
    if client is not None:
        found = client.get(path_of(kind_named("configmaps"), "knative-serving"))
        config_maps = {one["metadata"]["name"]: one.get("data", {}) for one in found["items"]}
    parsed = checked(files, config_maps, recursive=recursive)
    bodies = [_body(one.object, namespace) for one in parsed]
    if not bodies:
        click.echo("nothing to apply: the files hold no resources", err=True)
        return 0
    if client is None:
        _show([{"object": body, "action": "created"} for body in bodies], output, " (dry run)")
        return 0
    query = "fieldManager=dataplane-apply" + ("&dryRun=All" if dry_run == "server" else "")
    try:
        results = applied(client.post(f"/dataplane/v1/apply?{query}", bodies))
    except ServerError as error:
        raise (Failure(placed(parsed, error.causes)) if error.causes else error) from None
    for one in results:
        for warning in one.get("warnings", []):
            click.echo(f"Warning: {warning}", err=True)
    _show(results, output, " (server dry run)" if dry_run == "server" else "")
    if wait and dry_run == "none":
        _wait(client, results, wait_timeout)
    return 0


def applied(answer: Any) -> list["Object"]:
    """The list of `{object, action}`, bare or under `items`."""
    found: list[Object] = answer["items"] if isinstance(answer, dict) else answer
    return found


def _body(one: Any, namespace: str) -> "Object":
    from dataplane.resources.kinds import BY_STRUCT, to_builtins

    body: Object = to_builtins(one)
    body.pop("status", None)
    if BY_STRUCT[type(one)].namespaced:
        body.setdefault("metadata", {}).setdefault("namespace", namespace)
    return body


def _show(results: list["Object"], output: str, suffix: str) -> None:
    from dataplane.resources.kinds import BY_KIND
    from launch.names import full_name

    if output in ("yaml", "json"):
        objects = [one["object"] for one in results]
        body = objects[0] if len(objects) == 1 else {"apiVersion": "v1", "kind": "List", "items": objects}
        if output == "json":
            click.echo(json.dumps(body, indent=4, ensure_ascii=False))
        else:
            from launch.commands.get import as_yaml

            click.echo(as_yaml(body), nl=False)
        return
    for one in results:
        thing = one["object"]
        kind = BY_KIND[thing["apiVersion"].rpartition("/")[0], thing["kind"]]
        name = full_name(kind, thing["metadata"].get("name") or thing["metadata"].get("generateName", ""))
        click.echo(name if output == "name" else f"{name} {one['action']}{suffix}")


_AWAITED = ("Service", "Broker", "Trigger")


def _wait(client: "Client", results: list["Object"], timeout_s: float) -> None:
    from dataplane.clock import SYSTEM
    from launch.names import kind_named
    from launch.progress import wait_ready

    deadline = SYSTEM.monotonic() + timeout_s
    # Services first: Triggers wait for their addresses.
    for kind, one in sorted(
        ((one["object"]["kind"], one) for one in results if one["object"]["kind"] in _AWAITED),
        key=lambda pair: _AWAITED.index(pair[0]),
    ):
        meta, word = one["object"]["metadata"], kind.lower()
        doing = "Creating" if one["action"] == "created" else "Updating"
        click.echo(f"{doing} {word} '{meta['name']}' in namespace '{meta['namespace']}':\n")
        ready = wait_ready(
            client,
            kind_named("ksvc" if kind == "Service" else word),
            meta["namespace"],
            meta["name"],
            timeout_s=timeout_s,
            say=click.echo,
            deadline=deadline,
        )
        click.echo(_outcome(kind, one["action"], ready))


def _outcome(kind: str, action: str, ready: "Object") -> str:
    name, status = ready["metadata"]["name"], ready["status"]
    done = "created" if action == "created" else "updated"
    if kind == "Broker":
        return f"\nBroker '{name}' {done} and takes events at URL:\n{status['address']['url']}"
    if kind == "Trigger":
        return f"\nTrigger '{name}' {done}; events go to:\n{status.get('subscriberUri', '')}"
    return (
        f"\nService '{name}' {done} to latest revision '{status.get('latestReadyRevisionName', '')}' "
        f"is available at URL:\n{status.get('url', '')}"
    )
