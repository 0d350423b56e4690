"""`dataplane scale`: the scale annotations of a Service's template, which make a new revision."""

from pathlib import Path
from typing import Any

import click

from launch.options import Seconds, complete_services, data_option, namespace_option

PREFIX = "autoscaling.knative.dev/"
_OTHER_SPELLING = {
    "min-scale": "minScale",
    "max-scale": "maxScale",
    "initial-scale": "initialScale",
    "target": "",
    "metric": "",
}


@click.command(short_help="Set the scale bounds of a Service (makes a new revision).")
@click.argument("service", shell_complete=complete_services)
@namespace_option
@data_option
@click.option("--min", "least", type=click.IntRange(0), default=None, help="Never fewer pods than this.")
@click.option("--max", "most", type=click.IntRange(0), default=None, help="Never more pods than this; 0 = no limit.")
@click.option("--initial", type=click.IntRange(0), default=None, help="Pods that a new revision starts with.")
@click.option("--target", type=click.FloatRange(0.01), default=None, help="Requests per pod to aim for.")
@click.option("--metric", type=click.Choice(["concurrency", "rps"]), default=None, help="What --target counts.")
@click.option("--wait/--no-wait", default=True, help="Return when the new revision serves (default).")
@click.option("--wait-timeout", type=Seconds(), default=60.0, help="Give up after this (exit code 124); default 60s.")
def command(
    service: str,
    namespace: str,
    data: Path,
    least: int | None,
    most: int | None,
    initial: int | None,
    target: float | None,
    metric: str | None,
    wait: bool,
    wait_timeout: float,
) -> int:
    """Set the scale bounds of SERVICE.

    \b
    dataplane scale hello --min 1 --max 5
    dataplane scale hello --target 50 --metric rps
    """
    from launch.client import connect, path_of
    from launch.instance import Failure
    from launch.names import kind_named
    from launch.progress import wait_ready

    given = {
        "min-scale": least,
        "max-scale": most,
        "initial-scale": initial,
        "target": None if target is None else f"{target:g}",
        "metric": metric,
    }
    asked = {name: str(value) for name, value in given.items() if value is not None}
    if not asked:
        raise click.UsageError("say what to set: --min, --max, --initial, --target, --metric")
    if least and most and least > most:
        raise click.UsageError(f"--min {least} is more than --max {most}")
    kind, client = kind_named("ksvc"), connect(data)
    path = path_of(kind, namespace, service)
    present = client.get(path)
    template = present["spec"]["template"]
    if template.get("metadata", {}).get("name"):
        raise Failure(
            f"service {service!r} names its revision itself ({template['metadata']['name']}); "
            "a change of scale makes a new revision, so change spec.template.metadata.name with it and apply"
        )
    if annotated(template, asked) == template.get("metadata", {}).get("annotations", {}):
        click.echo(f"service {service!r} has this scale already")
        return 0
    change: dict[str, Any] = {PREFIX + name: value for name, value in asked.items()}
    change |= {PREFIX + other: None for name in asked if (other := _OTHER_SPELLING[name])}
    client.merge(path, {"spec": {"template": {"metadata": {"annotations": change}}}})
    click.echo(f"service {service!r}: " + ", ".join(f"{name}={value}" for name, value in asked.items()))
    if wait:
        ready = wait_ready(client, kind, namespace, service, timeout_s=wait_timeout, say=_say)
        click.echo(f"Revision {ready['status'].get('latestReadyRevisionName', '')} serves.")
    return 0


def annotated(template: dict[str, Any], asked: dict[str, str]) -> dict[str, str]:
    """The template's annotations with `asked` set and other spellings of the same dropped."""
    out = dict(template.get("metadata", {}).get("annotations", {}))
    for name, value in asked.items():
        out.pop(PREFIX + _OTHER_SPELLING[name], None)
        out[PREFIX + name] = value
    return out


def _say(line: str) -> None:
    click.echo(line, err=True)
