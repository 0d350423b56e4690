"""`dataplane completion`: scripts for the shells; names of Services and kinds come from the running instance."""

import click


@click.command(short_help="Print the completion script for bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script.

    \b
    bash: source <(dataplane completion bash)
    zsh:  source <(dataplane completion zsh)
    fish: dataplane completion fish | source
    """
    from click.shell_completion import get_completion_class

    from launch.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "dataplane", "_DATAPLANE_COMPLETE")
    # Not `.source()`: for bash that runs the installed bash to look at its version, which need not be there.
    click.echo(script.source_template % script.source_vars())
    return 0
