"""`dataplane describe`: one resource for people, with its conditions and events."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch.options import complete_targets, data_option, namespace_option

if TYPE_CHECKING:
    from dataplane.resources.kinds import Kind
    from launch.client import Client, Object


@click.command(short_help="Show one resource with its conditions and events.")
@click.argument("what", nargs=-1, required=True, shell_complete=complete_targets)
@namespace_option
@data_option
def command(what: tuple[str, ...], namespace: str, data: Path) -> int:
    """Describe TYPE/NAME, TYPE NAME, or every object of TYPE.

    \b
    dataplane describe ksvc/hello
    """
    from dataplane.clock import SYSTEM
    from launch.client import connect, path_of
    from launch.description import Describer
    from launch.instance import Failure
    from launch.names import targets
    from launch.tables import colourful

    client = connect(data)
    describer = Describer(now=SYSTEM.wall(), colour=colourful())
    texts: list[list[str]] = []
    for target in targets(what):
        if target.name:
            found = [client.get(path_of(target.kind, namespace, target.name))]
        else:
            found = client.get(path_of(target.kind, namespace))["items"]
        head = {"apiVersion": target.kind.api_version, "kind": target.kind.kind}
        texts += [_described(client, target.kind, namespace, {**head, **one}, describer) for one in found]
    if not texts:
        raise Failure(f"No resources found in {namespace} namespace.")
    click.echo("\n\n\n".join("\n".join(lines) for lines in texts))
    return 0


def _described(client: "Client", kind: "Kind", namespace: str, one: "Object", describer: object) -> list[str]:
    from launch.client import path_of
    from launch.description import Describer
    from launch.names import kind_named

    assert isinstance(describer, Describer)
    name = one["metadata"]["name"]
    place = one["metadata"].get("namespace") or namespace
    if kind.kind != "Service":
        about = f"involvedObject.kind={kind.kind},involvedObject.name={name}"
        return describer.anything(one, client.get(path_of(kind_named("events"), place, fieldSelector=about))["items"])
    selector = f"serving.knative.dev/service={name}"
    revisions = client.get(path_of(kind_named("revisions"), place, labelSelector=selector))["items"]
    events = client.get(path_of(kind_named("events"), place))["items"]
    return describer.service(one, revisions, [event for event in events if _concerns(event, name, revisions)])


def _concerns(event: "Object", service: str, revisions: list["Object"]) -> bool:
    """Of the Service, of what is made from it, and of its pods: where the reason of a failure is told."""
    about = event.get("involvedObject", {})
    kind, name = about.get("kind", ""), str(about.get("name", ""))
    named = [one["metadata"]["name"] for one in revisions]
    if kind == "Pod":
        return name.startswith(tuple(f"{revision}-deployment-" for revision in named))
    return name == service if kind in ("Service", "Configuration", "Route") else kind == "Revision" and name in named
