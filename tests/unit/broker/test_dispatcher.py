"""One trigger in virtual time: what becomes of every delivery, whatever the subscriber, the sink and the store do."""

import asyncio
import base64
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broker.settings import BrokerSettings
from broker.store.contract import Record
from dataplane.errors import ConfigFault, ConnectFailed, StoreUnavailable, UpstreamTimeout
from dataplane.resources.triggers import Target
from tests.unit.broker.world import SINK, SUB, World, event, run, trigger

REPLY = [(b"ce-specversion", b"1.0"), (b"ce-id", b"r"), (b"ce-source", b"/r"), (b"ce-type", b"reply")]


def statuses(*said, then=204):
    """Each event gets these answers in turn, by attempt, from the subscriber; the sink always takes it."""

    def script(asked):
        if asked.url == SINK:
            return (0.01, 202)
        return (0.01, said[asked.attempt - 1] if asked.attempt <= len(said) else then)

    return script


# ---- what should never happen ----------------------------------------------------------------------


def test_an_event_that_cannot_be_sent_is_parked_and_stops_nobody(monkeypatch):
    async def main():
        world = World()
        post = world.consumer._plans.now.subscriber
        request = type(post).request

        def fails(self, record, number, more=None):
            if record.event.id == "2":
                raise RuntimeError("a bug")
            return request(self, record, number, more)

        monkeypatch.setattr(type(post), "request", fails)
        world.store.offer(*(event(str(n)) for n in range(4)))
        await asyncio.sleep(1)
        assert sorted(world.ids()) == ["0", "1", "3"]
        ((delivery, failure, kept),) = world.store.parked
        assert (delivery.record.event.id, failure.reason, kept) == ("2", "rejected", "parked")
        assert "a bug" in failure.message
        assert world.consumer._window.count == 0

    run(main)


def test_a_filter_that_raises_does_not_match_and_is_said_once(caplog, monkeypatch):
    async def main():
        world = World()

        class Broken:
            interest = None

            def matches(self, event):
                raise RuntimeError("a bug")

        world.consumer._filter = Broken()
        assert [world.consumer.matches(event(str(n))) for n in range(3)] == [False] * 3
        assert [record.message for record in caplog.records] == ["filter_failed trigger=ns/tr error=RuntimeError"]

    run(main)


def test_a_filter_that_would_take_too_long_does_not_match_and_is_counted(caplog):
    async def main():
        world = World(trigger(filters=({"not": {"cesql": f"x LIKE '%{'_' * 30_000}b%'"}},)))
        assert world.consumer.matches(event("1", x="a" * 10))
        assert [world.consumer.matches(event("2", x="a" * 60_000)) for _ in range(3)] == [False] * 3
        assert world.metric("dataplane_broker_too_costly_total") == 3
        [record] = caplog.records
        assert record.message.startswith("filter_too_costly trigger=ns/tr why=the event has more than 256 characters")

    run(main)


# ---- one delivery -----------------------------------------------------------------------------------


def test_what_the_subscriber_gets():
    async def main():
        world = World()
        headers = (("traceparent", "00-ab-cd-01"), ("x-request-id", "7"), ("host", "forged"), ("x-bad", "a\r\nb: c"))
        world.store.offer(
            Record(event=event("1", b"data", knativebrokerttl="12", subject="ü"), arrived_at=1.8e9, headers=headers)
        )
        await asyncio.sleep(1)
        (asked,) = world.asked
        assert asked.line == "POST / HTTP/1.1"
        assert asked.body == b"data"
        assert asked.headers == {
            "host": "sub.example",
            "kn-namespace": "ns",
            "prefer": "reply",
            "x-dp-attempt": "1",
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/s",
            "ce-type": "t",
            "ce-subject": "%C3%BC",
            "ce-knativearrivaltime": "2027-01-15T08:00:00.000000Z",
            "content-type": "application/json",
            "content-length": "4",
            "traceparent": "00-ab-cd-01",
            "x-request-id": "7",
        }
        assert world.ids() == ["1"]
        assert [f.what for f in world.journal.about("ns/br", "1")] == ["matched", "delivered"]
        assert world.metric("dataplane_broker_deliveries_total", outcome="delivered") == 1
        assert world.metric("kn_eventing_dispatch_duration_seconds_count", http_response_status_code="204") == 1
        assert world.metric("kn_eventing_process_duration_seconds_count", cloudevents_type="t") == 1

    run(main)


def test_an_event_without_data_has_an_empty_body_and_format_json_is_structured():
    async def main():
        world = World(trigger(policy={"format": "json"}))
        world.store.offer(event("1", None))
        await asyncio.sleep(1)
        (asked,) = world.asked
        assert asked.headers["content-type"].startswith("application/cloudevents+json")
        assert b'"id":"1"' in asked.body.replace(b" ", b"")
        world.update(trigger())
        world.store.offer(event("2", None))
        await asyncio.sleep(1)
        assert (world.asked[1].headers["content-length"], world.asked[1].body) == ("0", b"")

    run(main)


def test_a_failure_is_tried_again_with_growing_waits_and_its_number():
    async def main():
        world = World(trigger(retry=3), script=statuses(500, ConnectFailed("refused"), 404))
        world.store.offer(event("1"))
        await asyncio.sleep(30)
        assert [a.attempt for a in world.asked] == [1, 2, 3, 4]
        assert [row[2] for row in world.store.laters] == [1.0, 2.0, 3.0]
        assert {a.id for a in world.asked} == {"1"}
        assert world.ids() == ["1"]
        assert [(f.code, f.attempt) for f in world.facts("failed")] == [(500, 1), (0, 2), (404, 3)]
        assert world.metric("dataplane_broker_deliveries_total", outcome="retried") == 3

    run(main)


def test_a_wait_gives_the_place_back():
    async def main():
        def script(asked):
            return (0.01, 500 if asked.id == "bad" else 204)

        world = World(trigger(retry=100, max_in_flight=1), script=script)
        world.store.offer(event("bad"), *(event(str(i)) for i in range(50)))
        await asyncio.sleep(2)
        assert len(world.ids()) == 50

    run(main)


@pytest.mark.parametrize("said", [400, 401, 403, 410, 413, 415, 422, 302, 101])
def test_what_no_retry_helps_goes_straight_to_the_dead_letter_sink(said):
    async def main():
        body = b"no " * 1000

        def script(asked):
            return (0.01, 202) if asked.url == SINK else (0.01, said, [], body)

        world = World(trigger(retry=5, sink=True), script=script)
        world.store.offer(event("1", b"data"))
        await asyncio.sleep(5)
        first, dead = world.asked
        assert dead.url == SINK
        assert "prefer" not in dead.headers
        assert dead.headers["kn-namespace"] == "ns"
        assert dead.headers["ce-id"] == "1"
        assert dead.body == b"data"
        assert dead.headers["ce-knativeerrordest"] == SUB
        assert dead.headers["ce-knativeerrorcode"] == str(said)
        assert base64.b64decode(dead.headers["ce-knativeerrordata"]) == body[:768]
        ((_, failure, kept),) = world.store.parked
        assert (failure.reason, failure.code, failure.attempts, kept) == ("rejected", said, 1, "dead-lettered")
        assert world.metric("dataplane_broker_deliveries_total", outcome="dead-lettered") == 1
        assert len(world.facts("dead-lettered")) == 1

    run(main)


def test_when_the_retries_are_used_up_the_sink_gets_the_event():
    async def main():
        world = World(trigger(retry=2, sink=True), script=statuses(503, 503, UpstreamTimeout("late")))
        world.store.offer(event("1"))
        await asyncio.sleep(30)
        assert [a.url for a in world.asked] == [SUB, SUB, SUB, SINK]
        dead = world.asked[-1]
        assert dead.headers["ce-knativeerrorcode"] == "500"
        assert base64.b64decode(dead.headers["ce-knativeerrordata"]) == b"late"
        ((_, failure, kept),) = world.store.parked
        assert (failure.reason, failure.code, failure.attempts, kept) == ("exhausted", 0, 3, "dead-lettered")

    run(main)


def test_without_a_sink_it_is_parked():
    async def main():
        world = World(trigger(retry=1), script=statuses(500, 500))
        world.store.offer(event("1"))
        await asyncio.sleep(30)
        ((_, failure, kept),) = world.store.parked
        assert (failure.reason, failure.code, failure.dest, failure.attempts, kept) == (
            "exhausted",
            500,
            SUB,
            2,
            "parked",
        )
        assert world.metric("dataplane_broker_deliveries_total", outcome="parked") == 1
        assert world.metric("dataplane_broker_given_up_total", reason="exhausted") == 1
        assert len(world.facts("parked")) == 1

    run(main)


@pytest.mark.parametrize("ordered", [False, True])
def test_the_sink_is_retried_like_the_subscriber_and_then_the_event_is_parked(ordered):
    async def main():
        world = World(
            trigger(retry=2, sink=True, ordered=ordered),
            script=lambda asked: (0.01, 500, [], b"from " + asked.url.encode()),
        )
        world.store.offer(event("1"))
        await asyncio.sleep(30)
        assert [(a.url, a.attempt) for a in world.asked] == [
            (SUB, 1),
            (SUB, 2),
            (SUB, 3),
            (SINK, 1),
            (SINK, 2),
            (SINK, 3),
        ]
        assert all(a.headers["ce-knativeerrorcode"] == "500" for a in world.asked[3:])
        ((_, failure, kept),) = world.store.parked
        assert (failure.reason, failure.code, failure.dest, kept) == ("dead-letter", 500, SUB, "parked")
        assert failure.data == b"from " + SUB.encode()
        assert SINK in failure.message
        assert world.consumer.room() > 0

    run(main)


def test_a_sink_that_refuses_is_not_retried():
    async def main():
        world = World(trigger(retry=2, sink=True), script=lambda asked: (0.01, 400))
        world.store.offer(event("1"))
        await asyncio.sleep(30)
        assert [a.url for a in world.asked] == [SUB, SINK]
        assert world.store.parked[0][1].reason == "dead-letter"

    run(main)


def test_after_a_restart_the_subscriber_is_asked_once_more_before_the_sink():
    async def main():
        world = World(trigger(retry=2, sink=True), script=statuses(then=500))
        world.store.offer(event("1"), attempt=5)  # the second attempt of the sink, says the store
        await asyncio.sleep(30)
        assert [(a.url, a.attempt) for a in world.asked] == [(SUB, 5), (SINK, 1)]

    run(main)


# ---- replies ------------------------------------------------------------------------------------------


def test_a_reply_enters_the_broker_with_one_hop_fewer_and_the_trace():
    async def main():
        fields = [*REPLY, (b"ce-knativebrokerttl", b"99"), (b"X-B3-TraceId", b"t"), (b"set-cookie", b"a=b")]
        world = World(script=lambda asked: (0.01, 200, fields, b"body"))
        headers = (("traceparent", "00-ab-cd-01"), ("x-request-id", "7"), ("knative-x", "y"))
        world.store.offer(Record(event=event("1"), arrived_at=1.0, hops=9, headers=headers))
        await asyncio.sleep(1)
        (reply,) = world.store.replies
        assert (reply.hops, reply.event.id, reply.event.data) == (8, "r", b"body")
        assert reply.arrived_at == pytest.approx(1.8e9, abs=1)
        assert "knativebrokerttl" not in reply.event.attributes
        assert reply.event.attributes["knativearrivaltime"].startswith("2027-01-15T08:00:00")
        assert dict(reply.headers) == {"traceparent": "00-ab-cd-01", "x-request-id": "7", "x-b3-traceid": "t"}
        assert world.ids() == ["1"]
        assert world.metric("dataplane_broker_replies_total") == 1
        assert len(world.facts("replied")) == 1

    run(main)


@pytest.mark.parametrize(("on_202", "replies"), [(False, 0), (True, 1)])
def test_the_body_of_a_202_is_a_reply_only_when_asked_for(on_202, replies):
    async def main():
        world = World(script=lambda asked: (0.01, 202, REPLY, b""), settings=BrokerSettings(reply_on_202=on_202))
        world.store.offer(event("1"))
        await asyncio.sleep(1)
        assert (len(world.store.replies), world.ids()) == (replies, ["1"])

    run(main)


def test_a_reply_with_no_hops_left_ends_the_loop():
    async def main():
        world = World(
            trigger(retry=3, sink=True),
            script=lambda asked: (0.01, 200, REPLY, b"") if asked.url == SUB else (0.01, 200),
        )
        world.store.offer(Record(event=event("1"), arrived_at=1.0, hops=1))
        await asyncio.sleep(10)
        assert world.store.replies == []
        assert [a.url for a in world.asked] == [SUB, SINK]
        assert world.asked[1].headers["ce-knativeerrorcode"] == "400"
        assert world.store.parked[0][1].reason == "hops"
        assert world.metric("dataplane_broker_given_up_total", reason="hops") == 1

    run(main)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([], b"plain text"),
        ([(b"content-type", b"application/cloudevents+json")], b"{not json"),
        ([(b"content-type", b"application/cloudevents-batch+json")], b"[]"),
        ([(b"ce-specversion", b"1.0"), (b"ce-id", b"r")], b""),
        ([*REPLY, (b"ce-id", b"twice")], b""),
        ([*REPLY, (b"ce-expirytime", b"tomorrow")], b""),
        ([*REPLY, (b"content-encoding", b"gzip")], b"coded"),
        (REPLY, b"x" * 70_000),
    ],
)
@pytest.mark.parametrize("bad_reply", ["fail", "ignore"])
def test_a_reply_that_is_none_fails_the_delivery_without_a_retry(fields, body, bad_reply):
    async def main():
        settings = BrokerSettings(reply_bytes_max=65_536, bad_reply=bad_reply)
        world = World(trigger(retry=3), script=lambda asked: (0.01, 200, fields, body), settings=settings)
        world.store.offer(event("1"))
        await asyncio.sleep(10)
        assert len(world.asked) == 1
        if bad_reply == "ignore":
            assert world.ids() == ["1"]
        else:
            ((_, failure, _),) = world.store.parked
            assert (failure.reason, failure.code) == ("reply", 502)
            assert failure.message

    run(main)


def test_a_reply_that_cannot_be_stored_fails_the_delivery_which_is_tried_again():
    async def main():
        world = World(trigger(retry=3), script=lambda asked: (0.01, 200, REPLY, b""))
        world.store.fault = StoreUnavailable("away")
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        assert world.ids() == []
        world.store.fault = None
        await asyncio.sleep(10)
        assert [a.attempt for a in world.asked] == [1, 2]
        assert (world.ids(), len(world.store.replies)) == (["1"], 1)

    run(main)


# ---- how much, how fast, when -----------------------------------------------------------------------


def test_no_more_than_max_in_flight_are_on_their_way():
    async def main():
        world = World(trigger(max_in_flight=7), script=lambda asked: (1.0, 204))
        world.store.offer(*(event(str(i)) for i in range(50)))
        await asyncio.sleep(0.5)
        assert world.metric("dataplane_broker_in_flight_requests") == 7
        await asyncio.sleep(10)
        assert world.open_max == 7
        assert sorted(world.ids(), key=int) == [str(i) for i in range(50)]
        assert world.metric("dataplane_broker_in_flight_requests") == 0

    run(main)


@pytest.mark.parametrize("ordered", [False, True])
def test_no_more_bytes_than_allowed_are_held(ordered):
    async def main():
        settings = BrokerSettings(in_flight_bytes_max=1_000_000)
        world = World(trigger(ordered=ordered), script=lambda asked: (1.0, 204), settings=settings)
        held_max = 0

        def watch():
            nonlocal held_max
            held_max = max(held_max, sum(len(d.record.event.data) for d in world.store.out.values()))
            world.loop.call_later(0.1, watch)

        watch()
        world.store.offer(*(event(f"first-{i}", b"x" * 100_000) for i in range(30)))
        await asyncio.sleep(60)
        world.store.offer(*(event(str(i), b"x" * 100_000, partitionkey=str(i)) for i in range(50)))
        await asyncio.sleep(100)
        assert len(world.ids()) == 80
        assert 500_000 < held_max <= 1_000_000

    run(main)


def test_an_event_larger_than_the_bound_still_goes():
    async def main():
        world = World(settings=BrokerSettings(in_flight_bytes_max=65_536))
        world.store.offer(*(event(str(i), b"x" * 100_000) for i in range(5)))
        await asyncio.sleep(5)
        assert len(world.ids()) == 5

    run(main)


def test_with_many_redeliveries_waiting_no_new_event_is_read():
    async def main():
        world = World(trigger(retry=4, delay_s=20.0), settings=BrokerSettings(retry_waiting_max=150))
        scheduled_max = 0

        def script(asked):
            nonlocal scheduled_max
            scheduled_max = max(scheduled_max, len(world.store.scheduled))
            return (0.05, 500 if asked.attempt <= 3 else 204)

        world.script = script
        world.store.offer(*(event(str(i)) for i in range(1000)))
        await asyncio.sleep(10)
        assert 100 <= len(world.asked) <= 150
        await asyncio.sleep(3000)
        assert len(world.ids()) == 1000
        assert 100 <= scheduled_max <= 150

    run(main)


@pytest.mark.parametrize("ordered", [False, True])
def test_the_rate_limit_holds(ordered):
    async def main():
        world = World(trigger(rate_per_s=50, ordered=ordered))
        world.store.offer(*(event(str(i), partitionkey=str(i)) for i in range(500)))
        await asyncio.sleep(5)
        assert 240 <= len(world.asked) <= 260
        await asyncio.sleep(6)
        assert len(world.ids()) == 500

    run(main)


def test_a_delayed_event_is_given_back_until_its_time():
    async def main():
        world = World()
        then = world.clock.wall() + 3600
        world.store.offer(Record(event=event("later"), arrived_at=1.0, not_before=then), event("now"))
        await asyncio.sleep(10)
        assert world.ids() == ["now"]
        await asyncio.sleep(3600)
        assert world.ids() == ["now", "later"]
        assert world.asked[1].attempt == 1

    run(main)


def test_a_redelivery_that_comes_early_is_given_back_with_its_number():
    async def main():
        world = World(trigger(retry=5))
        world.store.offer(event("1"), attempt=3, due_at=world.clock.wall() + 60)
        await asyncio.sleep(59)
        assert world.asked == []
        await asyncio.sleep(2)
        assert [a.attempt for a in world.asked] == [3]

    run(main)


def test_an_expired_event_is_not_sent_and_is_counted():
    async def main():
        world = World()
        now = world.clock.wall()
        world.store.offer(
            Record(event=event("old"), arrived_at=1.0, expires_at=now - 1),
            Record(event=event("fresh"), arrived_at=1.0, expires_at=now + 60),
        )
        await asyncio.sleep(1)
        assert [a.id for a in world.asked] == ["fresh"]
        assert sorted(world.ids()) == ["fresh", "old"]
        assert world.metric("dataplane_broker_deliveries_total", outcome="expired") == 1
        assert [f.id for f in world.facts("expired")] == ["old"]

    run(main)


def test_an_event_that_expires_between_two_attempts_is_not_tried_again():
    async def main():
        world = World(trigger(retry=5, delay_s=10.0), script=statuses(500, 500))
        world.store.offer(Record(event=event("1"), arrived_at=1.0, expires_at=world.clock.wall() + 15))
        await asyncio.sleep(100)
        assert len(world.asked) == 2
        assert world.metric("dataplane_broker_deliveries_total", outcome="expired") == 1

    run(main)


def test_a_thousand_expired_ones_in_one_lane_are_no_recursion():
    async def main():
        world = World(trigger(ordered=True))
        world.store.offer(*(Record(event=event(str(i)), arrived_at=1.0, expires_at=1.0) for i in range(3000)))
        await asyncio.sleep(1)
        assert len(world.ids()) == 3000

    run(main)


# ---- order ------------------------------------------------------------------------------------------


def test_in_order_a_failure_holds_its_lane_and_no_other():
    async def main():
        def script(asked):
            return (0.01, 500 if asked.id == "a1" and asked.attempt <= 3 else 204)

        world = World(trigger(ordered=True, retry=5), script=script)
        assert world.consumer._window._lanes.lane("a") != world.consumer._window._lanes.lane("b")
        for n in (1, 2, 3):
            world.store.offer(event(f"a{n}", partitionkey="a"), event(f"b{n}", partitionkey="b"))
        await asyncio.sleep(0.5)
        assert world.ids() == ["b1", "b2", "b3"]
        await asyncio.sleep(30)
        assert world.ids()[3:] == ["a1", "a2", "a3"]
        assert [(row[1], row[3]) for row in world.store.laters] == [(2, True), (3, True), (4, True)]

    run(main)


def test_in_order_a_redelivery_after_a_restart_waits_for_its_time_in_its_lane():
    async def main():
        world = World(trigger(ordered=True, retry=5))
        world.store.offer(event("a1"), attempt=3, due_at=world.clock.wall() + 60)
        world.store.offer(event("a2"))
        await asyncio.sleep(59)
        assert world.asked == []
        await asyncio.sleep(3)
        assert world.ids() == ["a1", "a2"]
        assert world.asked[0].attempt == 3

    run(main)


def test_in_order_what_waits_in_memory_is_bounded():
    async def main():
        world = World(
            trigger(ordered=True),
            script=lambda asked: (1.0, 204),
            settings=BrokerSettings(ordered_waiting_max=20, event_bytes_max=65_536),
        )
        world.store.offer(*(event(str(i)) for i in range(100)))
        await asyncio.sleep(0.5)
        assert len(world.store.out) == 20
        await asyncio.sleep(120)
        assert world.ids() == [str(i) for i in range(100)]
        assert world.open_max == 1

    run(main)


# ---- changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_a_paused_trigger_takes_nothing_and_finishes_what_it_has(ordered):
    async def main():
        world = World(trigger(ordered=ordered, max_in_flight=2), script=lambda asked: (1.0, 204))
        world.store.offer(*(event(str(i), partitionkey=str(i)) for i in range(10)))
        await asyncio.sleep(0.5)
        world.update(trigger(ordered=ordered, max_in_flight=2, paused=True))
        assert world.consumer.room() == 0
        await asyncio.sleep(10)
        assert len(world.ids()) == 2
        world.update(trigger(ordered=ordered, max_in_flight=5))
        await asyncio.sleep(10)
        assert len(world.ids()) == 10
        assert world.open_max == 5

    run(main)


def test_an_update_takes_effect_with_the_next_attempt_and_the_old_line_goes_when_it_is_empty():
    async def main():
        world = World(trigger(retry=3), script=lambda asked: (1.0, 500) if asked.url == SUB else (0.01, 204))
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        world.update(trigger(retry=3, url="http://other.example/x"))
        old, new = world.lines
        assert not old.closed
        await asyncio.sleep(10)
        assert old.closed
        assert [a.url for a in world.asked] == [SUB, "http://other.example/x"]
        assert world.ids() == ["1"]
        world.update(trigger(retry=4, url="http://other.example/x"))
        assert len(world.lines) == 2, "nothing of the target changed"

    run(main)


def test_an_update_that_cannot_be_changes_nothing():
    async def main():
        world = World()
        with pytest.raises(ConfigFault):
            world.update(trigger(url="not a url"))
        world.store.offer(event("1"))
        await asyncio.sleep(1)
        assert world.ids() == ["1"]

    run(main)


def test_a_sink_that_is_taken_away_meanwhile_parks():
    async def main():
        def script(asked):
            return (0.01, 400) if asked.url == SUB else (0.01, 503)

        world = World(trigger(retry=3, sink=True), script=script)
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        world.update(trigger(retry=3))
        await asyncio.sleep(30)
        assert [a.url for a in world.asked] == [SUB, SINK]
        assert world.store.parked[0][1].reason == "rejected"

    run(main)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_drain_waits_for_what_is_on_its_way_and_begins_nothing(ordered):
    async def main():
        world = World(trigger(ordered=ordered, max_in_flight=3), script=lambda asked: (2.0, 204))
        world.store.offer(*(event(str(i), partitionkey=str(i)) for i in range(10)))
        await asyncio.sleep(0.5)
        begun = world.loop.time()
        await world.consumer.drain(begun + 30)
        assert world.loop.time() - begun == pytest.approx(1.5)
        await world.store.close()
        assert len(world.ids()) == 3
        await asyncio.sleep(30)
        assert len(world.asked) == 3

    run(main)


def test_a_drain_ends_at_its_deadline_and_cuts_what_is_left():
    async def main():
        world = World(script=lambda asked: (100.0, 204))
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        await world.consumer.drain(world.loop.time() + 5)
        assert world.loop.time() == pytest.approx(5.5)
        await world.store.close()
        await asyncio.sleep(200)
        assert world.ids() == []
        assert list(world.store.out) == ["1"], "it comes again"

    run(main)


def test_a_drain_lets_the_dead_letter_of_a_last_failure_go():
    async def main():
        def script(asked):
            return (1.0, 400) if asked.url == SUB else (1.0, 200)

        world = World(trigger(sink=True), script=script)
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        await world.consumer.drain(world.loop.time() + 30)
        assert world.store.parked[0][2] == "dead-lettered"

    run(main)


def test_a_drain_does_not_wait_for_a_retry_that_keeps_its_lane():
    async def main():
        world = World(trigger(ordered=True, retry=5, delay_s=60.0), script=lambda asked: (1.0, 500))
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        await world.consumer.drain(world.loop.time() + 30)
        assert world.loop.time() == pytest.approx(1.0)
        assert world.store.scheduled["1"][1:] == (2, True), "it is written down"

    run(main)


def test_an_event_that_cannot_be_written_down_as_a_request_is_parked_and_stops_nobody():
    async def main():
        world = World()
        world.store.offer(event("bad", datacontenttype="tëxt/plain"), event("good"))
        await asyncio.sleep(1)
        assert world.ids() == ["good"]
        ((delivery, failure, kept),) = world.store.parked
        assert (delivery.record.event.id, failure.reason, kept) == ("bad", "rejected", "parked")

    run(main)


def test_an_idle_drain_returns_at_once():
    async def main():
        world = World()
        await world.consumer.drain(world.loop.time() + 30)
        assert world.loop.time() == 0

    run(main)


def test_lag_is_shown_and_a_closed_trigger_has_no_series():
    async def main():
        world = World(script=lambda asked: (100.0, 204))
        world.store.offer(Record(event=event("1"), arrived_at=world.clock.wall() - 40))
        await asyncio.sleep(2)
        assert world.metric("dataplane_broker_unsettled_events", state="in_flight", trigger="ns/tr") == 1
        assert world.metric("dataplane_broker_oldest_unsettled_seconds", trigger="ns/tr") == pytest.approx(42, abs=1)
        assert world.metric("dataplane_broker_deliveries_total", outcome="dropped") == 0
        world.consumer.close()
        assert 'tr"' not in world.registry.render()
        await asyncio.sleep(200)

    run(main)


def test_series_of_event_types_are_bounded():
    async def main():
        world = World()
        world.store.offer(*(event(str(i), type=f"type-{i}") for i in range(500)))
        await asyncio.sleep(10)
        text = world.registry.render()
        assert text.count("kn_eventing_dispatch_duration_seconds_count") <= 21
        assert world.metric("kn_eventing_dispatch_duration_seconds_count") == 500

    run(main)


# ---- any interleaving -------------------------------------------------------------------------------


@hypothesis_settings(max_examples=60)
@given(st.data(), st.booleans(), st.booleans(), st.integers(0, 3))
def test_nothing_is_lost_and_order_holds_whatever_happens(data, ordered, sink, retry):
    async def main():
        outcomes = [204, 204, 200, 500, 503, 400, ConnectFailed("x"), UpstreamTimeout("x"), "reply", "garbage"]

        def script(asked):
            said = data.draw(st.sampled_from(outcomes))
            delay = data.draw(st.sampled_from([0.001, 0.01, 0.5, 3.0]))
            if said == "reply":
                return (delay, 200, REPLY, b"")
            if said == "garbage":
                return (delay, 200, [], b"garbage")
            return (delay, said)

        def make(**more):
            return trigger(ordered=ordered, sink=sink, retry=retry, max_in_flight=4, **more)

        world = World(make(), script=script)
        keys = defaultdict(list)
        for number in range(data.draw(st.integers(1, 15))):
            key = data.draw(st.sampled_from("abc"))
            keys[key].append(str(number))
            world.store.offer(event(str(number), partitionkey=key))
            world.store.fault = data.draw(st.sampled_from([None, None, StoreUnavailable("x")]))
            await asyncio.sleep(data.draw(st.sampled_from([0.0, 0.0, 0.3, 2.0])))
            if data.draw(st.integers(0, 5)) == 0:
                world.update(make(paused=data.draw(st.booleans())))
        world.store.fault = None
        world.update(make())
        await asyncio.sleep(10_000)
        ended = world.ids() + world.ids([d for d, _, _ in world.store.parked])
        assert sorted(ended) == sorted(id for ids in keys.values() for id in ids), "each ends exactly once"
        assert world.store.out == {}
        assert world.consumer._window.count == world.consumer._window.bytes == world.consumer._window.in_flight == 0
        if ordered:
            for ids in keys.values():
                seen = [a.id for a in world.asked if a.id in ids]
                assert seen == sorted(seen, key=ids.index), "an attempt overtook an earlier event of its key"

    run(main)


def test_the_targets_are_checked_when_a_trigger_is_made():
    async def main():
        with pytest.raises(ConfigFault, match="absolute"):
            World(trigger(url="/relative"))
        assert Target(url=SUB) != Target(url=SINK)

    run(main)
