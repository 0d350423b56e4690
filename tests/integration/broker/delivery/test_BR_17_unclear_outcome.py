"""BR-17: the subscriber had the event, and its answer did not come. It gets it again: same id, with the attempt's number."""

import asyncio

import pytest

from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK


async def late(request, writer):
    if request.headers["x-dp-attempt"] == "1":
        await asyncio.sleep(10)
    return OK


def lost(request, writer):
    if request.headers["x-dp-attempt"] == "1":
        writer.transport.abort()
        return None
    return OK


@pytest.mark.parametrize("script", [late, lost])
@pytest.mark.parametrize("ordered", [False, True])
async def test_it_comes_again_with_the_same_id_and_the_next_number(house, script, ordered):
    subscriber = await house.subscriber(script)
    await house.trigger("t", subscriber, retry=3, timeout_s=1.5, ordered=ordered)
    await house.publish(event("1", b"data"))
    await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == 1)
    assert [(r.headers["ce-id"], r.headers["x-dp-attempt"], r.body) for r in subscriber.requests] == [
        ("1", "1", b"data"),
        ("1", "2", b"data"),
    ]


async def test_a_kept_connection_that_ended_is_no_attempt(house):
    """The keep-alive race: the request is repeated on a fresh connection at once, and no retry is used up."""

    def script(request, writer):
        served = getattr(writer, "served", 0)
        writer.served = served + 1
        return None if served else OK

    subscriber = await house.subscriber(script)
    await house.trigger("t", subscriber, retry=0)
    for number in range(5):
        await house.publish(event(str(number)))
        await house.until(
            lambda number=number: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == number + 1
        )
    assert house.metric("dataplane_broker_deliveries_total", outcome="retried") == 0
    assert {r.headers["x-dp-attempt"] for r in subscriber.requests} == {"1"}
