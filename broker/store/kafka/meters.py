"""What the Kafka store counts.

Path: log.py, read.py → [meters] → /metrics.
"""

from broker.store.meters import StoreMeters
from dataplane.telemetry.metrics import Registry


class KafkaMeters(StoreMeters):
    """discarded: records that are no events; Knative calls it `kn.eventing.kafka.discarded_events`."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.discarded = registry.counter(
            "kn_eventing_kafka_discarded_events_total",
            "records that are no CloudEvents: skipped",
            ("broker", "trigger"),
        )
