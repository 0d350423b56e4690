"""BR-14: replies that cause each other. The loop ends at the hop limit, is counted, and starves nobody."""

import pytest

from broker.ingress import Ingress
from broker.store.contract import Record
from dataplane.clock import SYSTEM
from dataplane.resources.triggers import Target
from tests.integration.broker.delivery.conftest import event
from tests.integration.subscriber import OK, answer

HOPS = 40


def replies(type_):
    def script(request, writer):
        head = f"ce-specversion: 1.0\r\nce-id: {request.headers['ce-id']}\r\nce-source: /loop\r\nce-type: {type_}\r\n"
        return answer(200, head)

    return script


@pytest.mark.parametrize("with_sink", [False, True])
async def test_a_loop_of_two_triggers_ends_at_the_hop_limit(house, with_sink):
    ping, pong = await house.subscriber(replies("pong")), await house.subscriber(replies("ping"))
    sink, other = await house.subscriber(), await house.subscriber()
    await house.trigger("ping", ping, filters=({"exact": {"type": "ping"}},), sink=sink if with_sink else None)
    await house.trigger("pong", pong, filters=({"exact": {"type": "pong"}},), sink=sink if with_sink else None)
    await house.trigger("other", other, filters=({"exact": {"type": "other"}},))
    await house.publish(Record(event=event("loop", type="ping"), arrived_at=SYSTEM.wall(), hops=HOPS))
    await house.publish(*(event(str(n), type="other") for n in range(100)))
    await house.until(lambda: house.metric("dataplane_broker_given_up_total", reason="hops") == 1)
    await house.settled()
    assert len(ping.requests) + len(pong.requests) == HOPS
    assert len(other.requests) == 100
    assert all("ce-knativebrokerttl" not in r.headers for r in ping.requests + pong.requests)
    last = "pong" if HOPS % 2 == 0 else "ping"
    (letter,) = await house.letters(last)
    assert (letter.failure.reason, letter.kept) == ("hops", "dead-lettered" if with_sink else "parked")
    assert [r.headers["ce-knativeerrorcode"] for r in sink.requests] == (["400"] if with_sink else [])


async def test_the_loop_and_new_events_share_the_trigger(house):
    """A thousand events that loop do not hold back one that does not."""
    subscriber = await house.subscriber(lambda r, w: OK if r.headers["ce-id"] == "plain" else replies("t")(r, w))
    await house.trigger("t", subscriber, max_in_flight=4)
    now = SYSTEM.wall()
    await house.publish(*(Record(event=event(str(n)), arrived_at=now, hops=20) for n in range(100)))
    await house.publish(event("plain"))
    await house.until(lambda: any(r.headers["ce-id"] == "plain" for r in subscriber.requests))
    seen = [r.headers["ce-id"] for r in subscriber.requests].index("plain")
    assert seen <= 2 * 100 + 10, "behind what was there before it, and not behind all their replies to come"
    await house.settled()
    assert len(subscriber.requests) == 100 * 20 + 1


@pytest.mark.parametrize("by", ["subscriber", "dead-letter sink"])
async def test_a_broker_that_feeds_itself_ends_at_the_hop_limit(make_house, by):
    house = await make_house(hops_max=10)
    ingress = Ingress(
        engine=house.engine,
        settings=house.settings,
        logs={"ns/br": house.log}.get,
        clock=SYSTEM,
        journal=house.journal,
    )
    host, port = await ingress.listen("127.0.0.1", 0)
    itself = Target(url=f"http://{host}:{port}/ns/br", broker=True)
    try:
        if by == "subscriber":
            await house.trigger("t", itself)
        else:
            await house.trigger("t", "http://127.0.0.1:9/", sink=itself)
        await house.publish(Record(event=event("loop"), arrived_at=SYSTEM.wall(), hops=10))
        await house.until(lambda: house.metric("dataplane_broker_rejected_total", reason="hops_exhausted") == 1)
        await house.settled()
        (letter,) = [one for one in await house.letters("t") if one.kept == "parked"]
        assert "answered 400" in letter.failure.message
        assert house.log.size()[0] == 10, "one per hop"
        assert "knativebrokerttl" not in letter.record.event.attributes
    finally:
        await ingress.drain()
