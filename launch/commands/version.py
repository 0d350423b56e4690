"""`dataplane version`."""

import json
import platform

import click


def installed_version() -> str:
    """Of the installed distribution; the checkout's when it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dataplane")
    except PackageNotFoundError:
        return "0.1.0+checkout"


@click.command(short_help="Print the version.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def command(output: str) -> int:
    """Print the version of dataplane, Python and the platform."""
    found = {
        "dataplane": installed_version(),
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    click.echo(json.dumps(found) if output == "json" else "\n".join(f"{k:<10} {v}" for k, v in found.items()))
    return 0
