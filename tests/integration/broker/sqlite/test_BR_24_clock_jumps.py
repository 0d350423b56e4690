"""BR-24: a wall clock that is set moves no redelivery that waits, and no restart makes one wait longer than it was to."""

import time

from broker.store.contract import LogSettings
from dataplane.clock import Clock
from tests.eventstore import Subscriber, append, record, settling, subscribe


async def test_BR_24_a_redelivery_comes_at_its_time_although_the_clock_was_set_back(make_store) -> None:
    ahead = [0.0]
    store = await make_store(clock=Clock(time.monotonic, lambda: time.time() + ahead[0]))
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    await subscriber.until(1)
    subscriber.later(subscriber.got[0], in_s=0.3)
    ahead[0] = -86_400.0
    await subscriber.until(2)
    assert subscriber.attempts == [("a", 1), ("a", 2)]


async def test_BR_24_a_clock_set_forward_brings_no_redelivery_early(make_store) -> None:
    ahead = [0.0]
    store = await make_store(clock=Clock(time.monotonic, lambda: time.time() + ahead[0]))
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    await subscriber.until(1)
    subscriber.later(subscriber.got[0], in_s=600)
    ahead[0] = 86_400.0
    await append(log, record("b"))
    await subscriber.stays_at(2, 0.2)


async def test_BR_24_after_a_restart_with_the_clock_set_back_nothing_waits_longer_than_it_was_to(make_store) -> None:
    store = await make_store()
    log = await store.open("default/default", LogSettings())
    subscriber = await subscribe(log, Subscriber())
    await append(log, record("a"))
    await subscriber.until(1)
    subscriber.later(subscriber.got[0], in_s=0.4)
    await subscriber.subscription.close()
    await store.close()
    store = await make_store(clock=Clock(time.monotonic, lambda: time.time() - 86_400))
    log = await store.open("default/default", LogSettings())
    again = await subscribe(log, settling())
    await again.until(1)
    assert again.attempts == [("a", 2)]


async def test_BR_24_the_time_of_an_event_is_untouched(make_store) -> None:
    store = await make_store(clock=Clock(time.monotonic, lambda: 0.0))
    log = await store.open("default/default", LogSettings(retention_s=0))
    subscriber = await subscribe(log, settling())
    sent = record("a", at=1_800_000_000.5)
    sent.event.attributes["time"] = "2031-01-01T00:00:00.000000001Z"
    await append(log, sent)
    [delivery] = await subscriber.until(1)
    assert delivery.record == sent
