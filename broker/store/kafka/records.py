"""A Record ↔ a record of Kafka: the CloudEvent as every client reads it, what travels beside it in headers of our own.

Path: append.py → [encode] → Kafka → [decode] → read.py, kept.py.

    content-type, ce_…          the event (spec §4.1), so that any Kafka client reads it
    dataplane_arrived           wall seconds of acceptance; without it the timestamp of the record
    dataplane_hops              hops left, when they are fewer than 255
    dataplane_not_before        wall seconds of a delayed delivery
    dataplane_expires           wall seconds of `expirytime`
    dataplane_typed             extensions that came as JSON numbers or booleans, as JSON
    dataplane_implied           "1": a JSON value that came without datacontenttype; the content-type is ours
    dataplane_header_NAME       a header that passes through: traceparent, x-request-id, knative-…

The key is the event's `partitionkey`. A record of another producer needs none of ours. What is delivered says where in
the topic it stands, as Knative's Kafka broker does: filters and subscribers see `knativekafkapartition` and
`knativekafkaoffset`.

Source: spec/eventing.md §4.1, §6, §8.9, §22.2, §28.2, §31.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from broker.store.contract import HOPS_MAX, Record
from dataplane.errors import BadEvent
from dataplane.wire.cloudevents import Event, decode_kafka, encode_kafka
from dataplane.wire.cloudevents.attributes import INTEGER_MAX

Headers = list[tuple[str, bytes]]

PREFIX = "dataplane_"
THROUGH = "dataplane_header_"
PARTITION, OFFSET = "knativekafkapartition", "knativekafkaoffset"
OVERHEAD_BYTES = 21 + 61  # of one record in a batch, and of the batch, at most


class Encoded(NamedTuple):
    """size_bytes: at least what it takes in Kafka, alone in its batch."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    size_bytes: int


def encode(record: Record, *more: tuple[str, bytes]) -> Encoded:
    """more: headers beside those of the record."""
    event = record.event
    headers, value = encode_kafka(event)
    headers.append(("dataplane_arrived", repr(record.arrived_at).encode()))
    if record.hops != HOPS_MAX:
        headers.append(("dataplane_hops", b"%d" % record.hops))
    if record.not_before:
        headers.append(("dataplane_not_before", repr(record.not_before).encode()))
    if record.expires_at:
        headers.append(("dataplane_expires", repr(record.expires_at).encode()))
    if event.typed:
        headers.append(("dataplane_typed", msgspec.json.encode(event.typed)))
    if event.json_implied:
        headers.append(("dataplane_implied", b"said" if "datacontenttype" in event.attributes else b"1"))
    for name, text in record.headers:
        headers.append((THROUGH + name, text.encode()))
    headers += more
    partitionkey = event.attributes.get("partitionkey")
    key = partitionkey.encode() if partitionkey else None
    return raw(key, value, headers, max(0, int(record.arrived_at * 1000)))


def raw(key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int) -> Encoded:
    size = OVERHEAD_BYTES + 10 * len(headers)
    for name, content in headers:
        size += len(name) + len(content)
    if key is not None:
        size += len(key)
    if value is not None:
        size += len(value)
    return Encoded(key, value, headers, timestamp_ms, size)


def decode(headers: Sequence[tuple[str, bytes]], value: bytes | None, timestamp_ms: int) -> Record:
    """Raises BadEvent for what is no event. What we wrote ourselves was judged when it was accepted, and is not again:
    nothing that was answered 202 can turn out to be no event here."""
    attributes: dict[str, str] = {}
    arrived_at = timestamp_ms / 1000
    hops = HOPS_MAX
    not_before = expires_at = 0.0
    typed: dict[str, int | bool] = {}
    implied = b""
    through: list[tuple[str, str]] = []
    ours = False
    name = ""
    try:
        for name, content in headers:
            if name[:3] == "ce_":
                attributes[name[3:]] = content.decode()
            elif name == "content-type":
                attributes["datacontenttype"] = content.decode()
            elif name[:10] != PREFIX:
                continue
            elif name == "dataplane_arrived":
                arrived_at = float(content)
                ours = True
            elif name == "dataplane_hops":
                hops = min(HOPS_MAX, max(0, int(content)))
            elif name[:17] == THROUGH:
                through.append((name[17:], content.decode()))
            elif name == "dataplane_not_before":
                not_before = float(content)
            elif name == "dataplane_expires":
                expires_at = float(content)
            elif name == "dataplane_typed":
                typed = msgspec.json.decode(content, type=dict[str, int | bool])
            elif name == "dataplane_implied":
                implied = content
        if not ours:
            return Record(event=decode_kafka(headers, value), arrived_at=arrived_at)
        if implied == b"1":
            del attributes["datacontenttype"]
        event = Event(attributes, value, typed, bool(implied))
        if "id" not in attributes or "source" not in attributes or "type" not in attributes:
            raise BadEvent("header", "the record has our headers and no event")
    except (ValueError, TypeError, KeyError, AttributeError, msgspec.DecodeError) as error:
        raise BadEvent("header", f"header {name} of the record: {error}") from None
    return Record(
        event=event,
        arrived_at=arrived_at,
        hops=hops,
        headers=tuple(through),
        not_before=not_before,
        expires_at=expires_at,
    )


def taken(raw: ConsumerRecord) -> Record:
    """As it is delivered: with where it stands, whatever it said. Raises BadEvent."""
    record = decode(raw.headers, raw.value, raw.timestamp)
    attributes, typed = record.event.attributes, record.event.typed
    for name, number in ((PARTITION, raw.partition), (OFFSET, raw.offset)):
        attributes[name] = str(number)
        if number <= INTEGER_MAX:  # beyond it no Integer of an event, so its text alone
            typed[name] = number
        else:
            typed.pop(name, None)
    return record
