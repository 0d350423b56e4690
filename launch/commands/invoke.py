"""`dataplane invoke`: one request to a Service through the gateway, without caring about names and ports."""

import sys
from typing import TYPE_CHECKING

import click

from launch.body import instance_or_body, looks_like_json, payload
from launch.options import Seconds, complete_services, namespace_option

if TYPE_CHECKING:
    from launch.client import Object

_CHUNK_BYTES = 64 * 1024


@click.command(short_help="Send one request to a Service.")
@click.argument("service", shell_complete=complete_services)
@namespace_option
@click.option(
    "-d",
    "--data",
    "given",
    multiple=True,
    metavar="TEXT|@FILE|@-",
    help="Body; makes it a POST. A directory that holds an instance is taken as that, as for every command.",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="Header (repeatable).")
@click.option("-X", "--method", default="", help="Method (default GET, with a body POST).")
@click.option("--path", default="/", help="Path and query (default /).")
@click.option("--tag", default="", help="Send to the revision behind this traffic tag.")
@click.option("-i", "--include", is_flag=True, help="Print the status line and the headers too.")
@click.option(
    "--timeout", type=Seconds(zero=False), default=60.0, help="Give up after this (exit code 124); default 60s."
)
def command(
    service: str,
    namespace: str,
    given: tuple[str, ...],
    headers: tuple[str, ...],
    method: str,
    path: str,
    tag: str,
    include: bool,
    timeout: float,
) -> int:
    """Send one request to SERVICE and print the answer. Exit code 1 when the status is 400 or more.

    \b
    dataplane invoke hello
    dataplane invoke hello -d '{"n":1}' -H 'Content-Type: application/json'
    dataplane invoke hello -d @event.json --path /events --tag canary
    """
    import http.client
    from urllib.parse import urlsplit

    from launch.client import connect, path_of
    from launch.instance import Failure, TimedOut
    from launch.names import kind_named

    data, body = instance_or_body(given)
    client = connect(data)
    url = urlsplit(_url(client.get(path_of(kind_named("ksvc"), namespace, service)), tag))
    gateway = urlsplit(client.instance.http)
    sent = {"Host": url.netloc, "User-Agent": "dataplane-invoke"} | dict(_header(one) for one in headers)
    data_sent = payload(body)
    if data_sent is not None and not any(name.lower() == "content-type" for name in sent):
        sent["Content-Type"] = "application/json" if looks_like_json(data_sent) else "text/plain"
    connection = http.client.HTTPConnection(gateway.hostname or "127.0.0.1", gateway.port, timeout=timeout)
    try:
        connection.request(
            method or ("GET" if data_sent is None else "POST"),
            path if path.startswith("/") else f"/{path}",
            data_sent,
            sent,
        )
        answer = connection.getresponse()
        if include:
            click.echo(f"HTTP/1.1 {answer.status} {answer.reason}")
            click.echo("".join(f"{name}: {value}\n" for name, value in answer.getheaders()))
        while chunk := answer.read1(_CHUNK_BYTES):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    except TimeoutError:
        raise TimedOut(
            f"no answer from {url.netloc} within {timeout:g} s; `dataplane explain ksvc/{service}`"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{client.instance.http}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status >= 400:
        code = answer.headers.get("x-dp-error", "")
        raise Failure(f"HTTP {answer.status} {answer.reason}" + (f" ({code})" if code else ""))
    return 0


def _url(service: "Object", tag: str) -> str:
    from launch.instance import Failure

    name, status = service["metadata"]["name"], service.get("status", {})
    if tag:
        urls = {one["tag"]: one.get("url", "") for one in status.get("traffic", []) if one.get("tag")}
        if not urls.get(tag):
            raise Failure(f"service {name!r} has no tag {tag!r}; it has: {', '.join(sorted(urls)) or 'none'}")
        return str(urls[tag])
    if not status.get("url"):
        raise Failure(f"service {name!r} has no URL yet; `dataplane describe ksvc/{name}` says why")
    return str(status["url"])


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"-H {text!r}: expected NAME: VALUE")
    return name.strip(), value.strip()
