"""BR-11: no dead-letter sink, or one that fails. The event is parked, counted, and can be driven again; never dropped."""

import pytest

from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK, answer


@pytest.mark.parametrize("sink_says", [None, 500, 400, "refused"])
async def test_what_nobody_takes_is_parked_and_can_be_redriven(house, sink_says):
    subscriber = await house.subscriber(answer(400, body=b"no"))
    if sink_says is None:
        sink = None
    else:
        sink = "http://127.0.0.1:1/" if sink_says == "refused" else await house.subscriber(answer(sink_says))
    await house.trigger("t", subscriber, sink=sink, retry=2)
    await house.publish(*(event(str(n)) for n in range(10)))
    await house.settled()
    letters = await house.letters("t")
    assert [letter.record.event.id for letter in sorted(letters, key=lambda letter: int(letter.record.event.id))] == [
        str(n) for n in range(10)
    ]
    for letter in letters:
        assert letter.kept == "parked"
        assert (letter.failure.code, letter.failure.dest, letter.failure.data) == (400, subscriber.url, b"no")
        assert letter.failure.reason == ("rejected" if sink is None else "dead-letter")
    assert house.metric("dataplane_broker_deliveries_total", outcome="parked") == 10
    assert house.metric("dataplane_broker_deliveries_total", outcome="dropped") == 0
    assert house.metric("dataplane_broker_unsettled_events", state="parked") == 10
    if sink_says == 500:
        assert len(sink.requests) == 30

    subscriber.script = OK
    assert await house.subscriptions["t"].redrive() == 10
    await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == 10)
    assert await house.letters("t") == []
    assert {r.headers["x-dp-attempt"] for r in subscriber.requests} == {"1"}
