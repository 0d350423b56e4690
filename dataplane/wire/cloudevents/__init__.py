"""CloudEvents ↔ bytes: HTTP (binary, structured, batched) and Kafka, with the payload's bytes untouched.

Path: broker/ingress.py → [decode_http] → store → dispatcher.py → [encode_…] → deliver.py → [decode_reply] → store.

Attributes are strings in their canonical form everywhere; data is bytes everywhere. Whatever a decoder accepts, every
encoder can write.

Source: spec/eventing.md §1-4.1; CloudEvents 1.0.3 and its HTTP, JSON and Kafka documents.
"""

from dataplane.errors import BadEvent, UnsupportedFormat
from dataplane.wire.cloudevents.event import Event, with_attributes
from dataplane.wire.cloudevents.http import (
    decode_http,
    decode_reply,
    encode_batch,
    encode_binary,
    encode_structured,
)
from dataplane.wire.cloudevents.kafka import decode_kafka, encode_kafka

__all__ = [
    "Event",
    "with_attributes",
    "decode_http",
    "decode_reply",
    "encode_binary",
    "encode_structured",
    "encode_batch",
    "decode_kafka",
    "encode_kafka",
    "BadEvent",
    "UnsupportedFormat",
]
