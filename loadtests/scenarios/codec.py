"""What an event costs as bytes: decode and encode in every mode, beside the CloudEvents SDK. (E0)"""

import json
import statistics
import sys
import time
from collections.abc import Callable

from harness import HERE, Bench

sys.path.insert(0, str(HERE.parent))

COUNT = 20_000
FIELDS = [
    (b"Host", b"broker"),
    (b"User-Agent", b"bench"),
    (b"ce-specversion", b"1.0"),
    (b"ce-id", b"4f2c1a9e-7e1e-4f7f-9b1e-1d2f5a6b7c8d"),
    (b"ce-source", b"/orders/eu-central-1"),
    (b"ce-type", b"dev.example.order.created"),
    (b"ce-time", b"2026-11-27T06:33:43.123456Z"),
    (b"ce-subject", b"order/4711"),
    (b"ce-partitionkey", b"customer-1234"),
    (b"Content-Type", b"application/json"),
]
PAYLOAD = json.dumps({f"field{n}": "x" * 16 for n in range(31)}).encode()


def what_does_an_event_cost_as_bytes(bench: Bench) -> None:
    """E0: CPU time; 8 attributes and a payload of 1 KB."""
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event

    from dataplane.wire.cloudevents import decode_http, decode_kafka, encode_binary, encode_kafka, encode_structured

    [event] = decode_http(FIELDS, PAYLOAD)
    _, body = encode_structured(event)
    structured = [(b"Content-Type", b"application/cloudevents+json; charset=UTF-8")]
    headers, value = encode_kafka(event)
    message = HTTPMessage({name.decode(): content.decode() for name, content in FIELDS}, PAYLOAD)
    theirs = from_http_event(message)
    ways: dict[str, Callable[[], object]] = {
        "decode binary": lambda: decode_http(FIELDS, PAYLOAD),
        "encode binary": lambda: encode_binary(event),
        "decode structured": lambda: decode_http(structured, body),
        "encode structured": lambda: encode_structured(event),
        "decode Kafka record": lambda: decode_kafka(headers, value),
        "encode Kafka record": lambda: encode_kafka(event),
        "decode binary, SDK": lambda: from_http_event(message),
        "encode binary, SDK": lambda: to_binary_event(theirs),
        "encode structured, SDK": lambda: to_structured_event(theirs),
    }
    for name, way in ways.items():
        figures = []
        for _ in range(7):
            began = time.process_time()
            for _ in range(COUNT):
                way()
            figures.append((time.process_time() - began) / COUNT * 1e6)
        low, middle, high = min(figures), statistics.median(figures), max(figures)
        bench.record("E0", name, unit="µs", min=low, median=middle, max=high)
        print(f"  {name:50} {low:.2f}–{middle:.2f}–{high:.2f} µs", flush=True)
