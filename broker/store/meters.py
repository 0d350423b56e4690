"""What a store counts beside what its callers see.

Path: store → [meters] → /metrics.
"""

import logging

from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)


class StoreMeters:
    """One per store. Cells are looked up per trigger; none of these is on the path of an event that goes well."""

    def __init__(self, registry: Registry) -> None:
        labels = ("broker", "trigger")
        self.lost = registry.counter(
            "dataplane_broker_lost_total", "records gone before a trigger had them: damage, retention", labels
        )
        self._letters_dropped = registry.counter(
            "dataplane_broker_letters_dropped_total", "letters beyond the bound; the oldest went", labels
        )
        self.damaged = registry.counter(
            "dataplane_broker_damaged_records_total", "records whose checksum or page did not hold", ("broker",)
        )
        self.duplicates = registry.counter(
            "dataplane_broker_duplicates_total",
            "events of a (source, id) seen within the window: not kept",
            ("broker",),
        )

    def letters_dropped(self, broker: str, trigger: str, count: int) -> None:
        """Counted; logged at the first and whenever the count has doubled: at its bound every letter drops one."""
        cell = self._letters_dropped.cell(broker, trigger)
        before = int(cell.v)
        cell.v += count
        if (before + count).bit_length() > before.bit_length():
            log.warning("letters_dropped broker=%s trigger=%s so_far=%d", broker, trigger, before + count)
