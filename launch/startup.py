"""What every long-running command does around its composition root: settings, limits, logs, the exit code.

Path: launch/commands/{up,gateway,activator,…}.py → [startup] → runtime/process.py → composition root.
"""

import functools
import gc
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

import click

from dataplane.clock import SYSTEM, Clock
from dataplane.errors import ConfigFault
from dataplane.runtime import process
from dataplane.runtime.config import Loaded
from dataplane.runtime.process import Lifecycle
from dataplane.telemetry.logs import Logs, Redacted
from dataplane.telemetry.metrics import Registry
from launch.commands.version import installed_version
from launch.instance import Failure
from launch.settings import LogSettings, loaded


class Ground(NamedTuple):
    """What a composition root stands on."""

    life: Lifecycle
    settings: Loaded
    registry: Registry
    clock: Clock


Root = Callable[[Ground], Awaitable[None]]


def run(
    root: Root,
    flags: Mapping[str, object],
    sets: tuple[str, ...] = (),
    *,
    stream: TextIO | None = None,
    plain: bool = False,
) -> int:
    """Run `root` until a signal; returns the exit code. Raises Failure on settings that are wrong.

    `stream`: where log lines go; stderr unless given. `plain`: a person reads them also when they are piped, so format
    "auto" is text.
    """
    try:
        settings = loaded(flags, parsed_sets(sets))
    except ConfigFault as error:
        raise Failure(str(error)) from None
    registry = Registry()
    command = click.get_current_context(silent=True)
    registry.gauge("target_info", "What this process is.", ("service_name", "service_version", "process_pid")).cell(
        f"dataplane-{command.info_name}" if command is not None else "dataplane", installed_version(), str(os.getpid())
    ).v = 1
    wanted = settings.section("log", LogSettings)
    _raise_file_limit()
    format_ = "text" if plain and wanted.format == "auto" else wanted.format
    logs = Logs(level=wanted.level, format_=format_, stream=stream or sys.stderr, registry=registry)
    try:
        return process.run(functools.partial(_composed, root, settings, registry))
    finally:
        logs.close()


async def _composed(root: Root, settings: Loaded, registry: Registry, life: Lifecycle) -> None:
    try:
        await root(Ground(life, settings, registry, SYSTEM))
    except Failure as error:
        raise ConfigFault(error.message) from None
    # What was made so far lives as long as the process: the collector need not look at it again on the request path.
    gc.collect()
    gc.freeze()
    # Resources have no cycles and are not looked at (gc=False); what is left of a thousand Services still takes 45 ms,
    # in which no request runs. Young generations, a fraction of a millisecond, find the cycles of the request path.
    gc.set_threshold(700, 10, 1_000)


def parsed_sets(sets: tuple[str, ...]) -> dict[str, str]:
    """`--set gateway.idle_timeout_s=30` → flags."""
    out: dict[str, str] = {}
    for one in sets:
        key, equals, value = one.partition("=")
        if not equals or "." not in key:
            raise click.UsageError(f"--set {one}: expected SECTION.FIELD=VALUE, see `dataplane config`")
        out[key.replace("-", "_")] = value
    return out


def token_from(path: str) -> Redacted:
    """The bearer token in a file; "" without a path. Raises Failure."""
    if not path:
        return Redacted("")
    try:
        return Redacted(Path(path).read_text().strip())
    except OSError as error:
        raise Failure(f"--token-file {path}: {error.strerror}") from None


def _raise_file_limit() -> None:
    """Every connection is a descriptor; the hard limit is what the administrator allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
