"""`dataplane up`: everything on this machine, until Ctrl-C."""

from pathlib import Path

import click

from launch.options import data_option


@click.command(short_help="Run everything on this machine.")
@click.option("-f", "--filename", "files", multiple=True, metavar="PATH", help="Apply a file or folder (repeatable).")
@click.option("--http", default=None, metavar="HOST:PORT", help="The gateway (default 127.0.0.1:8080; port 0 = any).")
@click.option("--api", default=None, metavar="HOST:PORT", help="The API (default 127.0.0.1:8001; port 0 = any).")
@click.option("--admin", default=None, metavar="HOST:PORT", help="Metrics and health (default: any loopback port).")
@click.option("--local", default=None, metavar="HOST:PORT", help="Cluster-local hosts (default: any loopback port).")
@click.option("--events", default=None, metavar="HOST:PORT", help="Brokers (default: any port, then the same).")
@data_option
@click.option("--in-memory", is_flag=True, default=None, help="Forget every resource at the end.")
@click.option("--driver", default=None, metavar="NAME", help="What runs pods: process.")
@click.option("--workers", type=int, default=None, metavar="N", help="Gateway processes that share the port.")
@click.option(
    "--images", multiple=True, metavar="FILE", type=click.Path(path_type=Path), help="What to run for images."
)
@click.option("--domain", default=None, metavar="SUFFIX", help="Hosts are NAME.NAMESPACE.SUFFIX (default localhost).")
@click.option("--sidecars", is_flag=True, default=None, help="A queue-proxy beside every pod.")
@click.option("--autoscaler", default="", metavar="URL", help="Use this autoscaler instead of the built-in one.")
@click.option("--activator", "activators", multiple=True, metavar="URL", help="Use these activators (repeatable).")
@click.option("--set", "sets", multiple=True, metavar="SECTION.FIELD=VALUE", help="Any setting of `dataplane config`.")
@click.option("--log-level", default=None, help="debug, info, warning or error.")
@click.option("--log-format", default=None, help="auto, text or json.")
def command(
    files: tuple[str, ...],
    http: str | None,
    api: str | None,
    admin: str | None,
    local: str | None,
    events: str | None,
    data: Path,
    in_memory: bool | None,
    driver: str | None,
    workers: int | None,
    images: tuple[Path, ...],
    domain: str | None,
    sidecars: bool | None,
    autoscaler: str,
    activators: tuple[str, ...],
    sets: tuple[str, ...],
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run gateway, activator, autoscaler and control plane on this machine, until Ctrl-C.

    Prints one line on stdout when it serves: `ready http=… api=…`; everything else goes to stderr.

    \b
    dataplane up -f examples/hello/
    """
    from launch import startup
    from launch.all_in_one import UpOptions, up
    from launch.instance import Failure
    from launch.live import stderr_stream
    from launch.manifests import images_beside, load

    for file in images:
        if not file.is_file():
            raise Failure(f"--images {file}: no such file")
    stream = stderr_stream()
    options = UpOptions(
        data=data,
        manifests=load(files),
        images=(*images_beside(files), *images),
        autoscaler=autoscaler,
        activators=activators,
        stream=stream,
    )
    flags = {
        "up.http": http,
        "up.api": api,
        "up.admin": admin,
        "up.local": local,
        "up.events": events,
        "up.in_memory": in_memory,
        "up.driver": driver,
        "up.workers": workers,
        "up.domain": domain,
        "up.sidecars": sidecars,
        "log.level": log_level,
        "log.format": log_format,
    }
    return startup.run(lambda ground: up(ground, options), flags, sets, stream=stream, plain=True)
