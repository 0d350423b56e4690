"""What people see of `dataplane up` on stderr: a live block on a terminal, plain lines otherwise.

Path: store changes → [live] → terminal.

Nothing is drawn while nothing changes: an idle instance costs no timer. rich is imported here, on a terminal, and
nowhere else; without it the lines are plain.

Source: design/ecosystem.md §1.7, §2.3.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

from controlplane.store.contract import Change, Store
from dataplane.resources.core import Pod
from dataplane.resources.meta import condition
from dataplane.resources.serving import GROUP, Service

log = logging.getLogger(__name__)

_COALESCE_S = 0.1
ROWS_MAX = 30

Row = tuple[str, str, str, str, int]  # name, mark, URL, reason or message, pods


def rows_of(store: Store) -> list[Row]:
    """One row for each Service."""
    pods: dict[tuple[str, str], int] = {}
    for pod in store.objects("", "Pod"):
        assert isinstance(pod, Pod)
        ready = condition(pod.status.conditions, "Ready")
        if ready is not None and ready.status == "True" and not pod.metadata.deletion_timestamp:
            key = (pod.metadata.namespace, pod.metadata.labels.get("serving.knative.dev/service", ""))
            pods[key] = pods.get(key, 0) + 1
    out = []
    for one in store.objects(GROUP, "Service"):
        assert isinstance(one, Service)
        meta = one.metadata
        found = condition(one.status.conditions, "Ready")
        status = found.status if found is not None else "Unknown"
        why = "" if found is None or status == "True" else found.message or found.reason
        mark = {"True": "++", "False": "!!"}.get(status, "??")
        out.append(
            (f"{meta.namespace}/{meta.name}", mark, one.status.url, why, pods.get((meta.namespace, meta.name), 0))
        )
    return out


class PlainLines:
    """One log line when a Service becomes ready, fails or goes."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[str, str]] = {}

    def show(self, rows: list[Row]) -> None:
        present = {row[0]: (row[1], row[3]) for row in rows}
        for name, mark, url, why, _ in rows:
            if self._before.get(name) == (mark, why):
                continue
            if mark == "++":
                log.info("service_ready name=%s url=%s", name, url)
            elif mark == "!!":
                log.warning("service_failed name=%s reason=%s", name, why)
        for name in self._before.keys() - present.keys():
            log.info("service_gone name=%s", name)
        self._before = present

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

    def show(self, rows: list[Row]) -> None:
        from rich.console import Group
        from rich.text import Text

        styles = {"++": "green", "!!": "red", "??": "yellow"}
        names = max((len(row[0]) for row in rows), default=0)
        urls = max((len(row[2]) for row in rows), default=0)
        lines = [Text(self._title, style="bold")]
        for name, mark, url, why, pods in rows[:ROWS_MAX]:
            shown = f"{pods} pod{'' if pods == 1 else 's'}"
            parts: list[str | tuple[str, str]] = [
                (mark, styles[mark]),
                f" {name:<{names}}  {url:<{urls}}  {shown:<6}  ",
                (why, "dim"),
            ]
            lines.append(Text.assemble(*parts, no_wrap=True, overflow="ellipsis"))
        if len(rows) > ROWS_MAX:
            lines.append(Text(f"   … and {len(rows) - ROWS_MAX} more", style="dim"))
        if not rows:
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
        self._store, self._loop, self._stream = store, loop, stream
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
        if change.key.kind in ("Service", "Pod") and self._timer is None:
            self._timer = self._loop.call_later(_COALESCE_S, self._draw)

    def _draw(self) -> None:
        self._timer = None
        self._view.show(rows_of(self._store))


def stderr_stream() -> Any:
    """stderr, able to make room for a live block."""
    return AboveTheBlock(sys.stderr)
