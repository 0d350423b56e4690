"""`dataplane kubeconfig`: `export KUBECONFIG=$(dataplane kubeconfig)`."""

from pathlib import Path

import click

from launch.options import data_option


@click.command(short_help="Print the path of the kubeconfig of the running instance.")
@data_option
def command(data: Path) -> int:
    """Print the path of the kubeconfig of the running instance.

    \b
    export KUBECONFIG=$(dataplane kubeconfig)
    kubectl get ksvc
    """
    from launch.instance import Failure, find

    path = find(data).kubeconfig.resolve()
    if not path.exists():
        raise Failure(f"{path} is missing; `dataplane up` writes it anew")
    click.echo(str(path))
    return 0
