"""Questions of people about a broker's log: where something begins, what is there, where an event is.

Path: log.py, read.py → [look] → a consumer of its own, which ends with the answer.

Source: spec/eventing.md §11.7; store/contract.py.
"""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from broker.store.contract import Start, Stored
from broker.store.kafka.cluster import ASK_TIMEOUT_S, Cluster, stop
from broker.store.kafka.records import decode
from dataplane.errors import BadEvent, BadPosition, StoreUnavailable

FIND_RECORDS_MAX = 20_000  # per partition


class Look:
    """numbers: which partitions there are."""

    def __init__(self, cluster: Cluster, topic: str, numbers: Callable[[], Sequence[int]]) -> None:
        self._cluster = cluster
        self._topic = topic
        self._numbers = numbers

    async def locate(self, start: Start) -> dict[int, int]:
        """The first offset to be delivered, by partition. Raises BadPosition, StoreFault."""
        numbers = list(self._numbers())
        time_s = start.time_s if start.at == "time" else None
        given = _positions(start.position) if start.at == "position" else {}
        for number in given:
            if number not in numbers:
                raise BadPosition(f"position {start.position!r} names partition {number}; there are {len(numbers)}")
        if len(given) == 1 and len(numbers) > 1:  # one record: in the other partitions, what came at its time or later
            time_s = await self._arrival(*next(iter(given.items())))
        begins, ends, at = await self._cluster.edges(self._topic, numbers, time_s)
        if start.at == "earliest":
            return begins
        if start.at == "latest":
            return ends
        for number, offset in given.items():
            at[number] = min(max(offset, begins[number]), ends[number])
        return at

    async def _arrival(self, number: int, offset: int) -> float | None:
        for tp, records in (await self._fetch({number: offset}, 1)).items():
            if tp == number and records:
                return float(records[0].timestamp) / 1000
        return None

    async def read(self, start: Start, limit: int) -> list[Stored]:
        if start.at == "latest":
            begins, ends, _ = await self._cluster.edges(self._topic, self._numbers())
            offsets = {number: max(begins[number], end - limit) for number, end in ends.items()}
        else:
            offsets = await self.locate(start)
        rows = [raw for records in (await self._fetch(offsets, limit)).values() for raw in records]
        rows.sort(key=lambda raw: (raw.timestamp, raw.partition, raw.offset))
        return _stored(rows[-limit:] if start.at == "latest" else rows[:limit])

    async def find(self, id: str, source: str, limit: int) -> list[Stored]:
        begins, ends, _ = await self._cluster.edges(self._topic, self._numbers())
        offsets = {number: max(begins[number], end - FIND_RECORDS_MAX) for number, end in ends.items()}
        wanted = ("ce_id", id.encode())
        found = [
            raw
            for records in (await self._fetch(offsets, FIND_RECORDS_MAX)).values()
            for raw in records
            if wanted in raw.headers or not any(name == "ce_id" for name, _ in raw.headers)
        ]
        found.sort(key=lambda raw: (raw.timestamp, raw.partition, raw.offset), reverse=True)
        stored = [one for one in _stored(found) if one.record.event.id == id]
        return [one for one in stored if not source or one.record.event.source == source][:limit]

    async def _fetch(self, offsets: dict[int, int], limit: int) -> dict[int, list[ConsumerRecord]]:
        """At most `limit` records of each partition from an offset to what is the end now."""
        found: dict[int, list[ConsumerRecord]] = {number: [] for number in offsets}
        _, ends, _ = await self._cluster.edges(self._topic, list(offsets))
        left = {number for number, offset in offsets.items() if offset < ends[number]}
        if not left:
            return found
        consumer = self._cluster.consumer(fetch_max_wait_ms=100, auto_offset_reset="earliest")
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await consumer.start()
                consumer.assign([TopicPartition(self._topic, number) for number in left])
                for number in left:
                    consumer.seek(TopicPartition(self._topic, number), offsets[number])
                while left:
                    for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                        found[tp.partition] += records[: limit - len(found[tp.partition])]
                    for number in list(left):
                        tp = TopicPartition(self._topic, number)
                        if len(found[number]) >= limit or await consumer.position(tp) >= ends[number]:
                            left.discard(number)
                            consumer.pause(tp)
        except (KafkaError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"{self._topic} cannot be read: {error!r}") from error
        finally:
            await stop(consumer)
        return found


def _positions(text: str) -> dict[int, int]:
    """`PARTITION:OFFSET`, or several of them with commas between. Raises StoreFault."""
    found: dict[int, int] = {}
    for word in text.split(","):
        number, colon, offset = word.strip().partition(":")
        if not (colon and number.isascii() and number.isdigit() and offset.isascii() and offset.isdigit()):
            raise BadPosition(f"position {text!r}: PARTITION:OFFSET, or several with commas between, would be right")
        found[int(number)] = int(offset)
    return found


def _stored(rows: Sequence[ConsumerRecord]) -> list[Stored]:
    found: list[Stored] = []
    for raw in rows:
        try:
            record = decode(raw.headers, raw.value, raw.timestamp)
        except BadEvent:
            continue
        found.append(Stored(f"{raw.partition}:{raw.offset}", record))
    return found
