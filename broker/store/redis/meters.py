"""What the Redis store counts beside what every store counts.

Path: store.py, log.py → [meters] → /metrics.
"""

from broker.store.meters import StoreMeters
from dataplane.telemetry.metrics import Registry


class Meters(StoreMeters):
    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.up = registry.gauge("dataplane_broker_redis_up", "1 while Redis can be written to").cell()
        self.connects = registry.counter("dataplane_broker_redis_connects_total", "connections that were made").cell()
        self.possible_loss = registry.counter(
            "dataplane_broker_possible_loss_total",
            "times the store came back with less than it had: accepted events may be lost",
            ("broker",),
        )
        self.groups_made = registry.counter(
            "dataplane_broker_redis_groups_made_again_total", "consumer groups that were gone", ("broker", "trigger")
        )
        self.trimmed = registry.counter(
            "dataplane_broker_redis_trimmed_total", "settled records that retention took", ("broker",)
        )
