"""The sample events of cloudevents/conformance, written and read by hand in every mode: the codec is not its own judge."""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pytest
import yaml

from dataplane.wire.cloudevents import (
    Event,
    decode_http,
    decode_kafka,
    encode_batch,
    encode_binary,
    encode_kafka,
    encode_structured,
)

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "cloudevents_events"
MODES = ("binary", "structured", "batch", "kafka")


class Sample(NamedTuple):
    attributes: dict[str, str]
    data: bytes

    @property
    def json(self) -> bool:
        """Without a datacontenttype data are JSON where JSON is spoken."""
        return "json" in self.attributes.get("datacontenttype", "json")


def samples() -> list[Any]:
    if not SAMPLES.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{SAMPLES} is not here: it holds the sample events"))]
    found = []
    for path in sorted(SAMPLES.glob("*.yaml")):
        # BaseLoader: every scalar stays a string, or specversion would be a number and time a datetime.
        for number, document in enumerate(yaml.load_all(path.read_text(), yaml.BaseLoader)):
            context = dict(document["ContextAttributes"])
            # A block scalar ends with a line break, which no attribute may hold.
            extensions = {name: value.rstrip("\n") for name, value in context.pop("Extensions", {}).items()}
            sample = Sample({**context, **extensions}, document["Data"].encode())
            found.append(pytest.param(sample, id=f"{path.stem}-{number}"))
    return found


def read_in(sample: Sample, mode: str) -> Event:
    attributes, data = sample
    if mode == "kafka":
        headers = [("content-type" if k == "datacontenttype" else f"ce_{k}", v.encode()) for k, v in attributes.items()]
        return decode_kafka(headers, data)
    if mode == "binary":
        fields = [
            (b"Content-Type", v.encode()) if k == "datacontenttype" else (b"Ce-" + k.title().encode(), quote(v, safe="/:").encode())
            for k, v in attributes.items()
        ]  # fmt: skip
        return decode_http(fields, data)[0]
    document: dict[str, object] = dict(attributes)
    document["data"] = json.loads(data) if sample.json else data.decode()
    if mode == "structured":
        return decode_http([(b"content-type", b"application/cloudevents+json")], json.dumps(document).encode())[0]
    body = json.dumps([document, document]).encode()
    first, second = decode_http([(b"content-type", b"application/cloudevents-batch+json")], body)
    assert first == second
    return first


def write_out(event: Event, mode: str) -> tuple[dict[str, str], bytes]:
    if mode == "kafka":
        headers, value = encode_kafka(event)
        assert value is not None
        return {k.removeprefix("ce_").replace("content-type", "datacontenttype"): v.decode() for k, v in headers}, value
    if mode == "binary":
        lines, body = encode_binary(event)
        read = {}
        for line in lines.decode("ascii").splitlines():
            name, _, value = line.partition(": ")
            if name == "content-type":
                read["datacontenttype"] = value
            else:
                read[name.removeprefix("ce-")] = unquote(value)
        return read, body
    if mode == "structured":
        document = json.loads(encode_structured(event)[1])
    else:
        [document] = json.loads(encode_batch([event])[1])
    data = document.pop("data", None)
    if "data_base64" in document:
        return document, base64.b64decode(document.pop("data_base64"))
    if document.pop("datacontentencoding", "") == "base64":
        return document, base64.b64decode(data)
    return document, json.dumps(data).encode()
