"""`dataplane explain`: why a Service has N pods, or what a field means."""

from pathlib import Path

import click

from launch.options import complete_targets, data_option, namespace_option


@click.command(short_help="Say why a Service has the pods it has, or what a field means.")
@click.argument("what", shell_complete=complete_targets)
@namespace_option
@data_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def command(what: str, namespace: str, data: Path, output: str) -> int:
    """Explain ksvc/NAME or FIELD.PATH.

    \b
    dataplane explain ksvc/hello
    dataplane explain ksvc.spec.template.spec.containerConcurrency
    """
    from launch.client import connect
    from launch.names import kind_named

    client = connect(data)
    word, slash, name = what.partition("/")
    if slash:
        if kind_named(word).kind != "Service":
            raise click.UsageError(f"{what}: pods are explained for ksvc/NAME")
        import json

        body = client.get(f"/dataplane/v1/explain/ksvc/{namespace}/{name}")
        if output == "json":
            click.echo(json.dumps(body, indent=2, ensure_ascii=False))
            return 0
        import msgspec

        from controlplane.explain import ServiceWhy, text

        click.echo(text(msgspec.convert(body, ServiceWhy)), nl=False)
        return 0
    from launch.fieldpath import described
    from launch.instance import Failure

    head, *path = what.split(".")
    kind = kind_named(head)
    place = f"api/{kind.version}" if not kind.group else f"apis/{kind.group}/{kind.version}"
    document = client.get(f"/openapi/v3/{place}")
    try:
        click.echo("\n".join(described(document, kind.group, kind.version, kind.kind, path)))
    except ValueError as error:
        raise Failure(str(error)) from None
    return 0
