"""The `dataplane` command: which commands there are, and what an exit code means.

Path: shell → [cli] → launch/commands/*.py → the API of a running instance; or launch/all_in_one.py, launch/hops.py.

A command's module is imported when the command runs: `--help` costs click and nothing else.
Exit codes: 0 done; 1 failed; 2 usage; 124 timed out; 130 Ctrl-C (but `up` ends with 0).

Source: design/ecosystem.md §1.7, §3.2.
"""

import importlib
import os
import sys
from collections.abc import Sequence

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("launch.commands.up", "Run everything on this machine."),
    "apply": ("launch.commands.apply", "Create or update resources from files, all or none."),
    "get": ("launch.commands.get", "Show resources."),
    "describe": ("launch.commands.describe", "Show one resource with its conditions and events."),
    "explain": ("launch.commands.explain", "Say why a Service has the pods it has, or what a field means."),
    "delete": ("launch.commands.delete", "Delete resources by name or from files."),
    "logs": ("launch.commands.logs", "Print the logs of a Service, Revision or pod."),
    "traffic": ("launch.commands.traffic", "Split the traffic of a Service between revisions."),
    "scale": ("launch.commands.scale", "Set the scale bounds of a Service (makes a new revision)."),
    "invoke": ("launch.commands.invoke", "Send one request to a Service."),
    "send": ("launch.commands.send", "Send a CloudEvent to a broker."),
    "events": ("launch.commands.events", "Look at events: tail, trace, parked, redrive, replay."),
    "kubeconfig": ("launch.commands.kubeconfig", "Print the path of the kubeconfig of the running instance."),
    "doctor": ("launch.commands.doctor", "Check this machine; each finding ends with its fix."),
    "config": ("launch.commands.config", "Print the settings in force and where each came from."),
    "completion": ("launch.commands.completion", "Print the completion script for bash, zsh or fish."),
    "version": ("launch.commands.version", "Print the version."),
}
HOPS: dict[str, tuple[str, str]] = {
    "gateway": ("launch.commands.gateway", "Run the gateway alone (hop 1)."),
    "activator": ("launch.commands.activator", "Run the activator alone (hop 2)."),
    "queueproxy": ("launch.commands.queueproxy", "Run the queue-proxy beside a pod (hop 3)."),
    "autoscaler": ("launch.commands.autoscaler", "Run the autoscaler alone."),
    "broker": ("launch.commands.broker", "Run a broker alone: ingress, dispatcher or both."),
}
_EVERY = COMMANDS | HOPS


class LazyGroup(click.Group):
    """Knows the names and help lines of its commands without their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_EVERY)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _EVERY:
            return None
        command = importlib.import_module(_EVERY[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _EVERY and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _EVERY, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            ctx.fail(f'no command "{args[0]}"{hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, table in (("Commands", COMMANDS), ("Hops", HOPS)):
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in table.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="kubectl works too: export KUBECONFIG=$(dataplane kubeconfig)",
)
@click.option("--data", metavar="DIR", default=None, help="Directory of the instance, for every command that has one.")
def cli(data: str | None) -> None:
    """Knative Services and Eventing on one machine.

    \b
    dataplane up -f examples/hello/
    curl http://hello.default.localhost:8080
    dataplane get ksvc -w
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _open_what_is_closed()
    try:
        code = cli.main(args=args, prog_name="dataplane", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # `dataplane get … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _open_what_is_closed() -> None:
    """A parent may have closed one of 0 to 2: the next socket would get its number, and whoever prints write to it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            setattr(sys, name, open(number, mode))  # noqa: SIM115 (for as long as the process lives)
