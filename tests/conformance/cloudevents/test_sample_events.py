"""The sample events of cloudevents/conformance go in and come out unchanged, from every mode to every mode, through
every store."""

import asyncio
import json

import pytest

from broker.store.contract import LogSettings, Record, Start
from dataplane.wire.cloudevents import Event
from tests.contract.eventstores import KITS, Kit, prepared
from tests.eventstore import append, settling, subscribe
from tests.samples import MODES, SAMPLES, Sample, read_in, samples, write_out


def test_all_fifteen_are_there():
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is not here: it holds the sample events")
    assert len(samples()) == 15


@pytest.mark.parametrize("way_out", MODES)
@pytest.mark.parametrize("way_in", MODES)
@pytest.mark.parametrize("sample", samples())
def test_it_comes_out_as_it_went_in(sample: Sample, way_in: str, way_out: str):
    same(sample, way_in, way_out, *write_out(read_in(sample, way_in), way_out))


def same(sample: Sample, way_in: str, way_out: str, attributes: dict[str, str], data: bytes) -> None:
    implied = "datacontenttype" not in sample.attributes and way_in in ("structured", "batch")
    if implied and way_out in ("binary", "kafka"):
        assert attributes.pop("datacontenttype") == "application/json"  # HTTP 3.1.1: implied before, said now
    assert attributes == sample.attributes
    if sample.json:
        assert json.loads(data) == json.loads(sample.data)
    if not sample.json or way_in == way_out == "binary" or way_in == way_out == "kafka":
        assert data == sample.data


@pytest.fixture(params=KITS, ids=lambda kit: kit.__name__.lower())
async def kit(request, tmp_path):
    async with prepared(request.param, tmp_path) as kit:
        yield kit


async def test_it_comes_out_of_every_store_as_it_went_in(kit: Kit):
    everything = [(case.values[0], way_in) for case in samples() for way_in in MODES if case.values[0] is not None]
    if not everything:
        pytest.skip(f"{SAMPLES} is not here: it holds the sample events")
    store = await kit.start()
    log = await store.open("default/default", LogSettings())
    trigger = await subscribe(log, settling())
    headers = (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
    for number, (sample, way_in) in enumerate(everything):
        event = numbered(read_in(sample, way_in), number)
        await append(log, Record(event=event, arrived_at=1.5, hops=7, headers=headers, expires_at=4e9))
    delivered = await trigger.until(len(everything))
    compare(everything, [kit.unmarked(delivery.record) for delivery in delivered])
    compare(everything, [stored.record for stored in await log.read(Start("earliest"), limit=1000)])
    if kit.survives_restart:
        await asyncio.sleep(0)
        log = await (await kit.restart(store)).open("default/default", LogSettings())
        compare(everything, [stored.record for stored in await log.read(Start("earliest"), limit=1000)])


def numbered(event: Event, number: int) -> Event:
    """With an attribute that says which it is: a log of partitions has its own order."""
    return Event({**event.attributes, "n": str(number)}, event.data, {"n": number}, event.json_implied)


def compare(everything: list[tuple[Sample, str]], records: list[Record]) -> None:
    assert len(records) == len(everything)
    for record in records:
        number = int(record.event.attributes["n"])
        sample, way_in = everything[number]
        assert record.event == numbered(read_in(sample, way_in), number)
        assert record.headers == (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
        assert (record.arrived_at, record.hops, record.expires_at) == (1.5, 7, 4e9)
        for way_out in MODES:
            attributes, data = write_out(record.event, way_out)
            assert str(attributes.pop("n")) == str(number)
            same(sample, way_in, way_out, attributes, data)
