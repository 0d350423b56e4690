"""Coverage-guided fuzzing of the codec and the ingress. By hand; what it finds becomes a test.

    pip install atheris && python tests/fuzz/ingress.py CORPUS_FOLDER -max_total_time=600 -timeout=10

A case is a mode byte and bytes: fields and body for the decoders, or raw bytes of a connection, cut at random places,
for the ingress. Nothing but the documented errors may be raised, what was taken must be writable in every mode, nothing
may stay held when the connection is gone, and every answer is whole.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["dataplane.wire", "broker", "dataplane.net.server"]):
    from broker.ingress import Ingress
    from broker.journal import Journal
    from broker.sdk import from_sdk, to_sdk
    from broker.settings import BrokerSettings
    from broker.store.contract import Done, Record
    from dataplane.clock import SYSTEM
    from dataplane.net.engine import Engine
    from dataplane.net.server import ServerConnection
    from dataplane.telemetry.metrics import Registry
    from dataplane.wire.cloudevents import (
        BadEvent,
        Event,
        UnsupportedFormat,
        decode_http,
        decode_kafka,
        decode_reply,
        encode_binary,
        encode_kafka,
        encode_structured,
    )

STATUSES = {100, 200, 202, 400, 404, 405, 408, 413, 414, 415, 417, 429, 431, 501, 503, 505}
NAMES = [b"ce-id", b"ce-type", b"ce-source", b"ce-specversion", b"ce-time", b"ce-x", b"content-type", b"ce-subject"]
BASE = [(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"s"), (b"ce-type", b"t")]


def sound(event: Event) -> None:
    lines, body = encode_binary(event)
    fields = [tuple(line.split(b": ", 1)) for line in lines[:-2].split(b"\r\n")]
    [again] = decode_http(fields, body)  # type: ignore[arg-type]
    assert again.data == (event.data or None)
    assert {**again.attributes, "datacontenttype": ""} == {**event.attributes, "datacontenttype": ""}
    _, body = encode_structured(event)
    json.loads(body)
    [again] = decode_http([(b"content-type", b"application/cloudevents+json")], body)
    if event.attributes["specversion"] == "1.0":
        assert again.attributes == event.attributes
        assert again.typed == event.typed
        assert (again.data or b"").strip(b" \t\r\n") == (event.data or b"").strip(b" \t\r\n")
    record = decode_kafka(*encode_kafka(event))
    assert record.data == event.data
    assert from_sdk(to_sdk(event)).data == event.data


def decoders(data: atheris.FuzzedDataProvider) -> None:
    fields = list(BASE) if data.ConsumeBool() else []
    for _ in range(data.ConsumeIntInRange(0, 5)):
        name = data.PickValueInList(NAMES) if data.ConsumeBool() else data.ConsumeBytes(8)
        fields.append((name, data.ConsumeBytes(data.ConsumeIntInRange(0, 40))))
    kind = data.ConsumeIntInRange(0, 3)
    if kind:
        suffix = [b"", b"+json", b"-batch+json", b"+json; charset=utf-8"][kind]
        fields.append((b"content-type", b"application/cloudevents" + suffix))
    body = data.ConsumeBytes(data.remaining_bytes())
    try:
        for event in decode_http(fields, body, batch_events_max=10):
            sound(event)
    except (BadEvent, UnsupportedFormat):
        pass
    try:
        event = decode_reply(fields, body)
        if event is not None:
            sound(event)
    except BadEvent:
        pass
    try:
        sound(decode_kafka([(name.decode("latin-1").replace("ce-", "ce_"), value) for name, value in fields], body))
    except BadEvent:
        pass


class Wire(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.1", 1)})
        self.out = b""
        self.closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    abort = close


class Log:
    def __init__(self) -> None:
        self.waiting: list[Done] = []

    def append(self, batch: Sequence[Record], done: Done) -> None:
        for record in batch:
            sound(record.event)
        self.waiting.append(done)


loop = asyncio.new_event_loop()
engine = Engine(loop=loop, registry=Registry())
log = Log()
ingress = Ingress(
    engine=engine,
    settings=BrokerSettings(event_bytes_max=65536),
    logs=lambda broker: log if broker == "n/b" else None,  # type: ignore[arg-type,return-value]
    clock=SYSTEM,
    journal=Journal(facts_max=10),
)
loop.run_until_complete(ingress.listen("127.0.0.1", 0))
accepting = ingress._listeners[0]._accepting


def connection(data: atheris.FuzzedDataProvider) -> None:
    wire = Wire()
    here = ServerConnection(accepting)
    here.connection_made(wire)
    cuts = [data.ConsumeIntInRange(1, 400) for _ in range(data.ConsumeIntInRange(0, 6))]
    sent = b""
    if data.ConsumeBool():
        sent = b"POST /n/b HTTP/1.1\r\nhost: h\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\nce-specversion: 1.0\r\n"
    sent += data.ConsumeBytes(data.remaining_bytes())
    asked = sent
    while sent and not wire.closed:
        cut = cuts.pop() if cuts else len(sent)
        piece, sent = sent[:cut], sent[cut:]
        here.data_received(piece)
        if len(cuts) % 2 == 0:
            waiting, log.waiting = log.waiting, []
            for done in waiting:
                done(None)
    here.eof_received()
    waiting, log.waiting = log.waiting, []
    for done in waiting:
        done(None)
    here.connection_lost(None)
    assert ingress.held_bytes == 0, ingress.held_bytes
    if b"HEAD" not in asked:  # its answer has a length and no body
        answers(wire.out)


def answers(out: bytes) -> None:
    while out:
        head, blank, out = out.partition(b"\r\n\r\n")
        assert blank and head.startswith(b"HTTP/1.1 "), head
        assert int(head[9:12]) in STATUSES, head
        length = 0
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        assert len(out) >= length
        out = out[length:]


def one(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    if data.ConsumeBool():
        decoders(data)
    else:
        connection(data)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
