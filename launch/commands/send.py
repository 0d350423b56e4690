"""`dataplane send`: one CloudEvent to a broker, without caring about headers, names and ports."""

from typing import TYPE_CHECKING

import click

from launch.body import instance_or_body, looks_like_json, payload
from launch.options import Seconds, namespace_option

if TYPE_CHECKING:
    from launch.client import Client


@click.command(short_help="Send a CloudEvent to a broker.")
@click.argument("target", metavar="broker/NAME|URL")
@namespace_option
@click.option("--type", "type_", required=True, metavar="TYPE", help="What happened, for example dev.example.order.")
@click.option("--source", default="/dataplane/send", metavar="URI", help="Where it happened (default /dataplane/send).")
@click.option("--id", "id_", default="", metavar="ID", help="Default: a new UUID.")
@click.option("--subject", default=None, metavar="TEXT", help="What it is about.")
@click.option("--time", default=None, metavar="RFC3339", help="When it happened (default: now; `none` leaves it out).")
@click.option("-e", "--extension", "extensions", multiple=True, metavar="NAME=VALUE", help="Extension (repeatable).")
@click.option(
    "--content-type", default=None, metavar="TYPE", help="Of the data (default: JSON where it looks like it)."
)
@click.option(
    "-d",
    "--data",
    "given",
    multiple=True,
    metavar="TEXT|@FILE|@-",
    help="The data. A directory that holds an instance is taken as that, as for every command.",
)
@click.option(
    "--timeout", type=Seconds(zero=False), default=30.0, help="Give up after this (exit code 124); default 30s."
)
def command(
    target: str,
    namespace: str,
    type_: str,
    source: str,
    id_: str,
    subject: str | None,
    time: str | None,
    extensions: tuple[str, ...],
    content_type: str | None,
    given: tuple[str, ...],
    timeout: float,
) -> int:
    """Send one CloudEvent to broker/NAME, or to a URL, and print its id when it is accepted.

    Accepted means durable: as safe as the broker's store (`dataplane describe broker/NAME` says how safe that is).

    \b
    dataplane send broker/default --type dev.example.order --subject 42 --data '{"total":12}'
    dataplane send broker/default --type dev.example.photo --content-type image/png --data @cat.png
    """
    import http.client
    import json
    import uuid
    from urllib.parse import quote, urlsplit

    from dataplane.clock import SYSTEM, rfc3339_micro
    from launch.client import connect
    from launch.instance import Failure, TimedOut
    from launch.names import kind_named

    data, body = instance_or_body(given)
    attributes = {"specversion": "1.0", "id": id_ or str(uuid.uuid4()), "source": source, "type": type_}
    if subject is not None:
        attributes["subject"] = subject
    if time != "none":
        attributes["time"] = time or rfc3339_micro(SYSTEM.wall())
    for one in extensions:
        name, equals, value = one.partition("=")
        if not equals or not name.isascii() or not name.isalnum() or name != name.lower():
            raise click.UsageError(f"-e {one!r}: expected NAME=VALUE, the name of lower-case letters and digits")
        attributes[name] = value
    if target.startswith(("http://", "https://")):
        address = target
    elif "://" in target:
        raise click.UsageError(f"{target}: expected broker/NAME, http://… or https://…")
    else:
        word, slash, name = target.partition("/")
        if not slash or kind_named(word).kind != "Broker":
            raise click.UsageError(f"{target}: expected broker/NAME or a URL")
        address = _address(connect(data), namespace, name)
    url = urlsplit(address)
    try:
        port = url.port
    except ValueError:
        raise click.UsageError(f"{address}: the port must be a number up to 65535") from None
    if not url.hostname:
        raise click.UsageError(f"{address}: a host is missing")
    if content_type is not None and not (content_type.isascii() and content_type.isprintable()):
        raise click.UsageError(f"--content-type {content_type!r}: expected a media type such as application/json")
    content = payload(body)
    # Spaces, quotes, percent signs and everything beyond ASCII are percent-encoded (CloudEvents HTTP binding §3.1.3.2).
    safe = "".join(chr(n) for n in range(0x21, 0x7F) if chr(n) not in '"%')
    headers = {f"ce-{name}": quote(value, safe=safe) for name, value in attributes.items()}
    if content is not None:
        headers["Content-Type"] = content_type or ("application/json" if looks_like_json(content) else "text/plain")
    make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = make(url.hostname, port, timeout=timeout)
    try:
        connection.request("POST", url.path or "/", content or b"", headers)
        answer = connection.getresponse()
        told = answer.read(64 * 1024)
    except TimeoutError:
        raise TimedOut(f"{address}: no answer within {timeout:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{address}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status >= 300:
        code = answer.headers.get("x-dp-error", "")
        try:
            why = json.loads(told).get("detail") or ""
        except (ValueError, AttributeError):
            why = told.decode("utf-8", "replace").strip()
        again = f"; try again in {answer.headers['Retry-After']} s" if "Retry-After" in answer.headers else ""
        raise Failure(f"HTTP {answer.status} {answer.reason}{f' ({code})' if code else ''}: {why or 'refused'}{again}")
    click.echo(f"accepted id={attributes['id']} type={type_}")
    return 0


def _address(client: "Client", namespace: str, name: str) -> str:
    from launch.client import ServerError, path_of
    from launch.instance import Failure
    from launch.names import kind_named

    try:
        found = client.get(path_of(kind_named("broker"), namespace, name))
    except ServerError as error:
        if error.code == 404 and "requested resource" in error.message and client.instance.http:
            return f"{client.instance.http}/{namespace}/{name}"  # a broker of its own: it has producers, no resources
        raise
    address = str(found.get("status", {}).get("address", {}).get("url", ""))
    if not address:
        raise Failure(f"broker {name!r} has no address yet; `dataplane describe broker/{name}` says why")
    return address
