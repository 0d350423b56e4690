"""`dataplane logs`: the lines of every pod behind a Service, a Revision or a name, with a prefix each."""

import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from launch.options import Seconds, complete_targets, data_option, namespace_option

if TYPE_CHECKING:
    from launch.client import Client, Object

_SELECTORS = {
    "Service": "serving.knative.dev/service",
    "Configuration": "serving.knative.dev/configuration",
    "Revision": "serving.knative.dev/revision",
}
_LINES_MAX = 10_000  # a pod that floods waits for the terminal, not for our memory


@click.command(short_help="Print the logs of a Service, Revision or pod.")
@click.argument("what", shell_complete=complete_targets)
@namespace_option
@data_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, and new pods, until interrupted.")
@click.option("--tail", type=int, default=-1, help="Only the last N lines of each container (-1 = all).")
@click.option("--since", type=Seconds(), default=None, help="Only lines younger than this, e.g. 5m.")
@click.option("-c", "--container", default="", help="Only this container.")
@click.option("-p", "--previous", is_flag=True, help="Of the container's run before the last restart.")
@click.option("--timestamps", is_flag=True, help="With the time of each line.")
@click.option("--prefix/--no-prefix", default=None, help="[pod container] before each line (default: unless one pod).")
def command(
    what: str,
    namespace: str,
    data: Path,
    follow: bool,
    tail: int,
    since: float | None,
    container: str,
    previous: bool,
    timestamps: bool,
    prefix: bool | None,
) -> int:
    """Print logs of ksvc/NAME, rev/NAME, pod/NAME or a pod's NAME.

    \b
    dataplane logs -f ksvc/hello --since 5m
    """
    from launch.client import connect
    from launch.names import kind_named

    kind_word, slash, name = what.partition("/")
    kind = kind_named(kind_word if slash else "pod").kind
    name = name if slash else what
    if kind != "Pod" and kind not in _SELECTORS:
        raise click.UsageError(f"{what}: logs come from ksvc/, rev/ or pod/")
    client = connect(data)
    query: dict[str, object] = {
        "tailLines": tail if tail >= 0 else None,
        "sinceSeconds": int(since) if since is not None else None,
        "previous": "true" if previous else None,
        "timestamps": "true" if timestamps else None,
    }
    single = kind == "Pod"
    printer = _Printer(prefixed=not single if prefix is None else prefix)
    streams = _Streams(client, namespace, query, container, printer, follow=follow)
    if single:
        from launch.client import path_of

        streams.add(client.get(path_of(kind_named("pod"), namespace, name)))
    else:
        _must_exist(client, kind_word, namespace, name)
        streams.add_all(f"{_SELECTORS[kind]}={name}")
    if not streams.count and not follow:
        click.echo(f"no pod of {what} is running, so there are no logs; -f waits for one", err=True)
    streams.drain()
    return 0


def _must_exist(client: "Client", kind_word: str, namespace: str, name: str) -> None:
    from launch.client import path_of
    from launch.names import kind_named

    client.get(path_of(kind_named(kind_word), namespace, name))


class _Printer:
    """Writes lines whole, one colour per pod."""

    def __init__(self, *, prefixed: bool) -> None:
        from launch.tables import PALETTE, colourful

        self._prefixed = prefixed
        self._colour = colourful()
        self._codes: dict[str, str] = {}
        self._palette = PALETTE

    def write(self, pod: str, container: str, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\n")
        if self._prefixed:
            from launch.tables import painted

            code = self._codes.setdefault(pod, self._palette[len(self._codes) % len(self._palette)])
            text = painted(f"[{pod} {container}]", code, colour=self._colour) + f" {text}"
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class _Streams:
    """One thread per container; the main thread prints, so lines never mix."""

    def __init__(
        self,
        client: "Client",
        namespace: str,
        query: dict[str, object],
        container: str,
        printer: _Printer,
        *,
        follow: bool,
    ) -> None:
        self._client, self._namespace, self._query = client, namespace, query
        self._container, self._printer, self._follow = container, printer, follow
        self._lines: queue.Queue[tuple[str, str, bytes] | None] = queue.Queue(_LINES_MAX)
        self._known: set[str] = set()
        self._open = 0
        self.count = 0

    def add(self, pod: "Object") -> None:
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        if uid in self._known:
            return
        self._known.add(uid)
        self.count += 1
        for one in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            if not self._container or one["name"] == self._container:
                self._spawn(self._read, name, one["name"])

    def add_all(self, selector: str) -> None:
        from launch.client import path_of
        from launch.names import kind_named

        body = self._client.get(path_of(kind_named("pod"), self._namespace, labelSelector=selector))
        for pod in body["items"]:
            self.add(pod)
        if self._follow:
            version = body["metadata"].get("resourceVersion", "")
            self._spawn(self._watch, selector, version)

    def drain(self) -> None:
        """Print until every stream has ended."""
        while self._open:
            found = self._lines.get()
            if found is None:
                self._open -= 1
            else:
                self._printer.write(*found)

    def _spawn(self, work: object, *args: str) -> None:
        self._open += 1
        threading.Thread(target=self._run, args=(work, *args), daemon=True).start()

    def _run(self, work: object, *args: str) -> None:
        from launch.instance import Failure

        assert callable(work)
        try:
            work(*args)
        except Failure as error:
            self._lines.put((args[0], "error", error.message.encode()))
        finally:
            self._lines.put(None)

    def _read(self, pod: str, container: str) -> None:
        for line in self._stream(pod, container):
            self._lines.put((pod, container, line))

    def _stream(self, pod: str, container: str) -> Iterator[bytes]:
        from launch.client import path_of
        from launch.names import kind_named

        follow = "true" if self._follow else None
        query = {**self._query, "container": container, "follow": follow}
        base = path_of(kind_named("pod"), self._namespace, pod)
        return self._client.lines(f"{base}/log?{_encoded(query)}")

    def _watch(self, selector: str, version: str) -> None:
        import json

        from launch.client import path_of
        from launch.names import kind_named

        path = path_of(
            kind_named("pod"), self._namespace, watch="true", resourceVersion=version, labelSelector=selector
        )
        for line in self._client.lines(path):
            event = json.loads(line)
            if event["type"] in ("ADDED", "MODIFIED"):
                self.add(event["object"])


def _encoded(query: dict[str, object]) -> str:
    from urllib.parse import urlencode

    return urlencode({key: value for key, value in query.items() if value is not None})
