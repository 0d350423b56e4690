"""What the control loop counts of its queue, per controller, under the names that Knative's controllers use.

Path: loop.py → [meters] → dataplane/telemetry/metrics.py.

Source: design/ecosystem.md §3.1 (control loops).
"""

from collections.abc import Callable, Iterable

from dataplane.telemetry.metrics import Cell, HistogramCell, Registry

_LABELS = ("name",)
_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


class _Cells:
    """Of one controller."""

    __slots__ = ("adds", "depth", "processed", "queued", "retries", "unfinished")

    adds: Cell
    depth: Cell
    processed: HistogramCell
    queued: HistogramCell
    retries: Cell
    unfinished: Cell


class WorkMeters:
    """Items are whatever the loop queues; `now` is loop seconds. A sweep's items were never in the queue."""

    __slots__ = ("_cells", "_queued_at", "_started_at")

    def __init__(self, registry: Registry, controllers: Iterable[str], clock: Callable[[], float]) -> None:
        depth = registry.gauge("kn_workqueue_depth", "Items that wait.", _LABELS)
        adds = registry.counter("kn_workqueue_adds_total", "Items that were queued.", _LABELS)
        retries = registry.counter(
            "kn_workqueue_retries_total", "Items to be looked at again after a failure.", _LABELS
        )
        queued = registry.histogram("kn_workqueue_queue_duration_seconds", "Wait of an item.", _LABELS, _BUCKETS_S)
        processed = registry.histogram(
            "kn_workqueue_process_duration_seconds", "From the look at an item to its commit.", _LABELS, _BUCKETS_S
        )
        unfinished = registry.gauge(
            "kn_workqueue_unfinished_work_seconds", "Age of what is being worked on, summed.", _LABELS
        )
        self._cells: dict[str, _Cells] = {}
        for name in controllers:
            cells = self._cells[name] = _Cells()
            cells.depth, cells.adds, cells.retries = depth.cell(name), adds.cell(name), retries.cell(name)
            cells.queued, cells.processed = queued.cell(name), processed.cell(name)
            cells.unfinished = unfinished.cell(name)
        self._queued_at: dict[tuple[str, object], float] = {}
        self._started_at: dict[tuple[str, object], float] = {}
        registry.before_render(lambda: self._refresh(clock()))

    def added(self, item: tuple[str, object], now: float) -> None:
        self._cells[item[0]].adds.v += 1
        self._queued_at[item] = now

    def started(self, item: tuple[str, object], now: float) -> None:
        """It is being looked at."""
        since = self._queued_at.pop(item, None)
        if since is not None:
            self._cells[item[0]].queued.observe(now - since)
        self._started_at[item] = now

    def ended(self, item: tuple[str, object], now: float, *, retry: bool) -> None:
        """Its commit is over, or it had none."""
        cells = self._cells[item[0]]
        cells.processed.observe(now - self._started_at.pop(item, now))
        cells.retries.v += retry

    def forget(self) -> None:
        """The loop is closed."""
        self._queued_at.clear()
        self._started_at.clear()

    def _refresh(self, now: float) -> None:
        for cells in self._cells.values():
            cells.depth.v = cells.unfinished.v = 0
        for name, _ in self._queued_at:
            self._cells[name].depth.v += 1
        for (name, _), since in self._started_at.items():
            self._cells[name].unfinished.v += now - since
