"""BR-20, issue "Eventing core" point 7: two processes share a broker; one is stopped past its lease or session, and goes on.

While it stands still the other one delivers what it held. When it goes on it must not begin anything of that: a
subscriber that saw the newer events of a key would see the older ones again.
"""

import asyncio
import signal
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.eventing import stores
from tests.e2e.eventing.conftest import BrokerProcess
from tests.e2e.eventing.test_order import send
from tests.eventload import History, Subscriber

KEYS = 6
EACH = 60
ANSWERS_AFTER_S = 0.05
LEASE_S = 2.0

Make = Callable[..., Awaitable[BrokerProcess]]


class Slow(Subscriber):
    """Answers a little later, every seventh event with 503 at first; knows what it answered with 202, per key."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.done: dict[str, list[int]] = defaultdict(list)
        self.asked: list[
            tuple[str, int, int]
        ] = []  # (key, number, the newest of its key that was acknowledged by then)
        self._attempts: dict[str, int] = defaultdict(int)

    def newest(self, key: str) -> int:
        return max(self.done[key], default=-1)

    def handle(self, head: bytes, body: bytes, transport: asyncio.Transport) -> None:
        at = head.lower().find(b"\r\nce-id:")
        id_ = head[at + 8 :].partition(b"\r\n")[0].strip().decode()
        key, _, number = id_.partition("-")
        self.asked.append((key, int(number), self.newest(key)))
        self.history.note("asked", id=id_, peer=transport.get_extra_info("peername")[1])
        self._attempts[id_] += 1
        fails = int(number) % 7 == 3 and self._attempts[id_] < 3
        asyncio.get_running_loop().call_later(ANSWERS_AFTER_S, self._answer, key, int(number), fails, transport)

    def _answer(self, key: str, number: int, fails: bool, transport: asyncio.Transport) -> None:
        if not fails:
            self.done[key].append(number)
            self.history.note("done", id=f"{key}-{number}")
        status = b"503 Later" if fails else b"202 Accepted"
        transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")

    def all_done(self) -> bool:
        return all(len(set(self.done[str(key)])) == EACH for key in range(KEYS))


async def until(true: Callable[[], object], seconds: float, said: Callable[[], object]) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, said()
        await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", ["redis", "kafka"])
async def test_a_process_that_was_stopped_past_its_lease_begins_nothing_that_another_has(
    broker_process: Make, tmp_path: Path, store: str
) -> None:
    history = History(tmp_path / "history.jsonl")
    subscriber = Slow(history)
    await subscriber.start()
    namespace = f"moves-{uuid.uuid4().hex[:8]}"
    snapshot = f"""
brokers:
  {namespace}/orders: {{store: {store}}}
triggers:
  {namespace}/all:
    broker: orders
    ordered: true
    subscriber: {{url: "{subscriber.address}/all"}}
    delivery: {{retry: 5, delayS: 0.3, backoff: linear}}
"""
    with stores.shared(store, tmp_path) as arguments:
        more = (*arguments, "--set", f"broker.redis_lease_s={LEASE_S}", "--set", f"broker.kafka_session_s={LEASE_S}")
        stopped = await broker_process(snapshot, *more)
        await asyncio.gather(*(_produce(stopped.port, f"/{namespace}/orders", key) for key in range(KEYS)))
        other = await broker_process(snapshot, *more)
        await until(lambda: any(subscriber.newest(str(key)) >= 4 for key in range(KEYS)), 60, other.tail)
        assert stopped.process is not None
        stopped.process.send_signal(signal.SIGSTOP)
        history.note("stopped")
        before = {str(key): subscriber.newest(str(key)) for key in range(KEYS)}
        await until(
            lambda: all(subscriber.newest(key) >= min(before[key] + 4, EACH - 1) for key in before), 60, other.tail
        )
        assert not subscriber.all_done(), "there must be something left to get wrong"
        seen = len(subscriber.asked)
        stopped.process.send_signal(signal.SIGCONT)
        history.note("goes on")
        await until(subscriber.all_done, 90, lambda: (dict(subscriber.done), stopped.tail(), other.tail()))
        await asyncio.sleep(1.0)
        assert await stopped.stop() == 0
        assert await other.stop() == 0
    await subscriber.stop()
    history.close()
    late = [(key, number) for key, number, newest in subscriber.asked[seen:] if number < newest]
    assert len({key for key, _ in late}) == len(late), f"more than what was being sent when it was stopped: {late}"


async def _produce(port: int, path: str, key: int) -> None:
    for number in range(EACH):
        await send(port, path, key, number)
