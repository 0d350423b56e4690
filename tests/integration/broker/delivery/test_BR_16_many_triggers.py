"""BR-16: 500 triggers on one event. It is stored once, confirmed before anybody is asked, and sent 500 times."""

from tests.integration.broker.delivery.conftest import event

TRIGGERS = 500


async def test_one_event_for_five_hundred_triggers(house):
    subscriber = await house.subscriber()
    handed = []
    for number in range(TRIGGERS):
        consumer = await house.trigger(f"t{number}", subscriber)
        deliver = consumer.deliver
        consumer.deliver = lambda batch, deliver=deliver: (handed.extend(batch), deliver(batch))
    confirmed = []
    house.log.append([record_of(event("1", b"x" * 100_000))], lambda fault: confirmed.append(len(subscriber.requests)))
    await house.until(lambda: len(subscriber.requests) == TRIGGERS, limit_s=120)
    await house.settled()
    assert confirmed == [0]
    assert len(handed) == TRIGGERS
    assert len({id(delivery.record) for delivery in handed}) == 1, "the payload is there once"
    assert house.log.size()[0] == 1
    assert {len(r.body) for r in subscriber.requests} == {100_000}


def record_of(event):
    from broker.store.contract import Record
    from dataplane.clock import SYSTEM

    return Record(event=event, arrived_at=SYSTEM.wall())
