"""What people see of `dataplane up` on stderr: a live block on a terminal, plain lines otherwise.

Path: store changes → [live] → terminal.

Nothing is drawn while nothing changes: an idle instance costs no timer. rich is imported here, on a terminal, and
nowhere else; without it the lines are plain.

Source: design/ecosystem.md §1.7, §2.3.
"""

import asyncio
import heapq
import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TextIO

from controlplane.store.contract import Change, Key, Store
from dataplane.resources.core import Pod
from dataplane.resources.meta import Resource, condition
from dataplane.resources.serving import GROUP, Service

log = logging.getLogger(__name__)

_COALESCE_S = 0.1
ROWS_MAX = 30
LINES_MAX = 100  # written in one turn of the loop


class Row(NamedTuple):
    """What people see of one Service. mark: ++ ready, !! failed, ?? neither yet."""

    mark: str
    url: str
    why: str
    pods: int


class Rows:
    """One row for each Service, kept from changes: what did not change is not looked at again."""

    def __init__(self, store: Store) -> None:
        self._services: dict[str, Service] = {}
        self._serving: dict[Key, str] = {}  # ready pods → their Service
        self._pods: Counter[str] = Counter()
        self.changed: set[str] = set()
        for group, kind in ((GROUP, "Service"), ("", "Pod")):
            for one in store.objects(group, kind):
                self.note(Key(group, kind, one.metadata.namespace, one.metadata.name), one)

    def note(self, key: Key, one: Resource | None) -> None:
        """None: it is gone."""
        if key.group == GROUP and key.kind == "Service":
            name = f"{key.namespace}/{key.name}"
            self.changed.add(name)
            if isinstance(one, Service):
                self._services[name] = one
            else:
                self._services.pop(name, None)
        elif key.group == "" and key.kind == "Pod":
            self._count(self._serving.pop(key, ""), -1)
            if isinstance(one, Pod) and _serves(one):
                name = f"{key.namespace}/{one.metadata.labels.get('serving.knative.dev/service', '')}"
                self._serving[key] = name
                self._count(name, 1)

    def names(self) -> Collection[str]:
        return self._services.keys()

    def row(self, name: str) -> Row | None:
        one = self._services.get(name)
        if one is None:
            return None
        found = condition(one.status.conditions, "Ready")
        status = found.status if found is not None else "Unknown"
        why = "" if found is None or status == "True" else found.message or found.reason
        mark = {"True": "++", "False": "!!"}.get(status, "??")
        return Row(mark, one.status.url, why, self._pods[name])

    def _count(self, name: str, more: int) -> None:
        if name:
            self.changed.add(name)
            self._pods[name] += more
            if not self._pods[name]:
                del self._pods[name]


def _serves(pod: Pod) -> bool:
    ready = condition(pod.status.conditions, "Ready")
    return ready is not None and ready.status == "True" and not pod.metadata.deletion_timestamp


class PlainLines:
    """One log line when a Service becomes ready, fails or goes. What is left in `changed` waits for the next time."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str]] = {}

    def show(self, rows: Rows) -> None:
        for name in heapq.nsmallest(LINES_MAX, rows.changed):
            rows.changed.discard(name)
            row = rows.row(name)
            if row is None:
                if self._said.pop(name, None) is not None:
                    log.info("service_gone name=%s", name)
                continue
            if self._said.get(name) == (row.mark, row.why):
                continue
            self._said[name] = (row.mark, row.why)
            if row.mark == "++":
                log.info("service_ready name=%s url=%s", name, row.url)
            elif row.mark == "!!":
                log.warning("service_failed name=%s reason=%s", name, row.why)

    def aside(self, say: Callable[[], None]) -> None:
        say()

    def close(self) -> None: ...


class LiveBlock:
    """A block at the bottom of the terminal that is drawn again when something changes; log lines scroll above it."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._title = title
        self.console = Console(stderr=True, highlight=False)
        self._live = Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()

    def show(self, rows: Rows) -> None:
        from rich.console import Group
        from rich.text import Text

        rows.changed.clear()
        styles = {"++": "green", "!!": "red", "??": "yellow"}
        first = heapq.nsmallest(ROWS_MAX, rows.names())
        shown = [(name, row) for name in first if (row := rows.row(name)) is not None]
        names = max((len(name) for name, _ in shown), default=0)
        urls = max((len(row.url) for _, row in shown), default=0)
        lines = [Text(self._title, style="bold")]
        for name, row in shown:
            count = f"{row.pods} pod{'' if row.pods == 1 else 's'}"
            parts: list[str | tuple[str, str]] = [
                (row.mark, styles[row.mark]),
                f" {name:<{names}}  {row.url:<{urls}}  {count:<6}  ",
                (row.why, "dim"),
            ]
            lines.append(Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))
        if len(rows.names()) > ROWS_MAX:
            lines.append(Text(f"   … and {len(rows.names()) - ROWS_MAX} more", style="dim"))
        if not shown:
            lines.append(Text("no services yet: dataplane apply -f FILE", style="dim"))
        self._live.update(Group(*lines), refresh=True)

    def aside(self, say: Callable[[], None]) -> None:
        """What goes to stdout would be written into the block; so the block steps back for a moment."""
        self._live.stop()
        say()
        self._live.start(refresh=True)

    def close(self) -> None:
        self._live.stop()


class AboveTheBlock:
    """A stream for log lines that does not tear the live block: what is written appears above it."""

    def __init__(self, under: TextIO) -> None:
        self._under = under
        self.block: LiveBlock | None = None

    def write(self, text: str) -> int:
        if self.block is None:
            return self._under.write(text)
        if text.strip():
            from rich.text import Text

            self.block.console.print(Text.from_ansi(text.rstrip("\n")))
        return len(text)

    def flush(self) -> None:
        self._under.flush()

    def isatty(self) -> bool:
        return self._under.isatty()


class Status:
    """Draws when Services or Pods change, at most ten times a second."""

    def __init__(
        self, *, store: Store, title: str, stream: AboveTheBlock | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`stream`: where log lines go; None = plain lines only."""
        self._rows, self._loop, self._stream = Rows(store), loop, stream
        self._view: PlainLines | LiveBlock = PlainLines()
        if stream is not None and stream.isatty():
            try:
                block = LiveBlock(title)
            except ImportError:  # the `rich` extra is not installed
                log.info("plain_lines reason=%s", "pip install 'dataplane[rich]' for live ones")
            else:
                stream.block = block
                self._view = block
        self._timer: asyncio.TimerHandle | None = None
        self._stop: Callable[[], None] = store.watch(self._changed)
        self._draw()

    def aside(self, say: Callable[[], None]) -> None:
        """Call `say`, which writes to stdout."""
        self._view.aside(say)

    async def close(self) -> None:
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is not None:
            self._stream.block = None
        self._view.close()

    def _changed(self, change: Change) -> None:
        self._rows.note(change.key, None if change.type == "DELETED" else change.object)
        if self._rows.changed and self._timer is None:
            self._timer = self._loop.call_later(_COALESCE_S, self._draw)

    def _draw(self) -> None:
        self._timer = None
        self._view.show(self._rows)
        if self._rows.changed:
            self._timer = self._loop.call_later(_COALESCE_S, self._draw)


def stderr_stream() -> Any:
    """stderr, able to make room for a live block."""
    return AboveTheBlock(sys.stderr)
