"""The acceptance matrix of spec §10.4 over real sockets: who is asked how often, and whose sink gets what is left.

Inheritance is the control plane's (a trigger in the snapshot has it merged); each row is what it hands over.
"""

from typing import NamedTuple

import pytest

from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK, answer


class Given(NamedTuple):
    """fails: how many answers of the subscriber are 500 before it takes the event; sink: whose, after inheritance."""

    fails: int
    retry: int
    sink: str


class Wanted(NamedTuple):
    attempts: int
    delivered: bool
    broker_sink: int = 0
    trigger_sink: int = 0
    parked: int = 0


ROWS = {
    "broker {sink, retry 3}, trigger none: 3 failures": ((Given(3, 3, "broker"), Wanted(4, True)),),
    "broker {sink, retry 3}, trigger none: 4 failures": ((Given(4, 3, "broker"), Wanted(4, False, broker_sink=1)),),
    "trigger {sink, retry 3}, broker {sink, retry 1}: 4 failures; other trigger 2 failures": (
        (Given(4, 3, "trigger"), Wanted(4, False, trigger_sink=1)),
        (Given(2, 1, "broker"), Wanted(2, False, broker_sink=1)),
    ),
    "trigger {retry 5} without a sink, broker with one": ((Given(6, 5, "broker"), Wanted(6, False, broker_sink=1)),),
    "no delivery spec at all": ((Given(1, 0, ""), Wanted(1, False, parked=1)),),
    "no delivery spec, and nothing fails": ((Given(0, 0, ""), Wanted(1, True)),),
    "trigger {sink} and no retry": ((Given(1, 0, "trigger"), Wanted(1, False, trigger_sink=1)),),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("backoff", ["linear", "exponential"])
@pytest.mark.parametrize("ordered", [False, True])
async def test_who_is_asked_how_often_and_whose_sink_gets_what_is_left(house, row, backoff, ordered):
    sinks = {"broker": await house.subscriber(), "trigger": await house.subscriber(), "": None}
    subscribers = []
    for number, (given, _) in enumerate(row):
        left = [answer(500)] * given.fails
        subscriber = await house.subscriber(lambda request, writer, left=left: left.pop() if left else OK)
        subscribers.append(subscriber)
        await house.trigger(
            f"t{number}",
            subscriber,
            sink=sinks[given.sink],
            retry=given.retry,
            backoff=backoff,
            delay_s=0.005,
            ordered=ordered,
        )
    await house.publish(event("1"))
    await house.until(lambda: all(len(s.requests) >= w.attempts for s, (_, w) in zip(subscribers, row, strict=True)))
    await house.settled()

    for number, (subscriber, (given, wanted)) in enumerate(zip(subscribers, row, strict=True)):
        assert len(subscriber.requests) == wanted.attempts
        assert (
            house.metric("dataplane_broker_deliveries_total", outcome="delivered", trigger=f"ns/t{number}")
            == wanted.delivered
        )
        kept = [letter.kept for letter in await house.letters(f"t{number}")]
        assert kept.count("parked") == wanted.parked
        assert kept.count("dead-lettered") == wanted.broker_sink + wanted.trigger_sink
    for name in ("broker", "trigger"):
        assert len(sinks[name].requests) == sum(getattr(wanted, f"{name}_sink") for _, wanted in row)
        assert all(r.headers["ce-knativeerrorcode"] == "500" for r in sinks[name].requests)
