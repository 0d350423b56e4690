"""BR-10: one event that its subscriber can never take. retry + 1 attempts, then the sink; the others go on."""

import base64

import pytest

from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK, answer


def always_500(request, writer):
    return answer(500, body=b"boom " * 1000) if request.headers["ce-id"] == "poison" else OK


def crashes(request, writer):
    if request.headers["ce-id"] == "poison":
        writer.transport.abort()
        return None
    return OK


@pytest.mark.parametrize("script", [always_500, crashes])
@pytest.mark.parametrize("ordered", [False, True])
async def test_it_ends_at_the_sink_after_its_attempts_and_holds_up_nobody_else(house, script, ordered):
    subscriber, sink = await house.subscriber(script), await house.subscriber()
    await house.trigger("t", subscriber, sink=sink, retry=4, delay_s=0.2, ordered=ordered)
    same = event("same-key", partitionkey="a")
    await house.publish(
        event("poison", b"bad", partitionkey="a"), same, *(event(str(n), partitionkey=f"b{n}") for n in range(100))
    )
    await house.settled()
    ids = [r.headers["ce-id"] for r in subscriber.requests]
    attempts = [r.headers["x-dp-attempt"] for r in subscriber.requests if r.headers["ce-id"] == "poison"]
    assert sorted({*attempts}) == ["1", "2", "3", "4", "5"]
    # A kept connection that ends before an answer looks like the keep-alive race: that attempt is repeated once.
    assert all(attempts.count(number) <= (2 if script is crashes else 1) for number in "12345")
    assert {*ids} == {"poison", "same-key", *(str(n) for n in range(100))}
    last = len(ids) - 1 - ids[::-1].index("poison")
    if ordered:
        assert ids.index("same-key") > last, "its own key waits"
    else:
        assert ids.index("same-key") < last
    elsewhere = [n for n in range(100) if not ordered or lane(house, f"b{n}") != lane(house, "a")]
    assert all(ids.index(str(n)) < last for n in elsewhere), "no other lane waits"

    (dead,) = sink.requests
    assert (dead.headers["ce-id"], dead.body) == ("poison", b"bad")
    assert dead.headers["ce-knativeerrordest"] == subscriber.url
    assert dead.headers["ce-knativeerrorcode"] == "500"
    if script is always_500:
        assert len(dead.headers["ce-knativeerrordata"]) <= 1024
        assert base64.b64decode(dead.headers["ce-knativeerrordata"]) == (b"boom " * 1000)[:768]
    (letter,) = await house.letters("t")
    assert (letter.kept, letter.failure.reason, letter.failure.attempts) == ("dead-lettered", "exhausted", 5)


def lane(house, key):
    return house.triggers["t"]._window._lanes.lane(key)
