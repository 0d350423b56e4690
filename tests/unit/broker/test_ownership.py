"""An ordered trigger whose lanes pass to another process: nothing more begins here, and nothing is lost or overtaken."""

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broker.settings import BrokerSettings
from broker.store.contract import Delivery, Record
from dataplane.errors import ConnectFailed
from tests.unit.broker.world import SINK, World, event, run, trigger

REPLY = [(b"ce-specversion", b"1.0"), (b"ce-id", b"r"), (b"ce-source", b"/r"), (b"ce-type", b"reply")]
LET_GO = "dataplane_broker_let_go_total"


def ordered(**more):
    return trigger(ordered=True, **({"retry": 5} | more))


def asked(world):
    return [one.id for one in world.asked]


def test_what_waits_for_its_lane_is_let_go_and_not_tried():
    async def main():
        world = World(ordered(), script=lambda asked: (1.0, 204))
        world.store.offer(*(event(f"a{n}", partitionkey="a") for n in range(5)))
        await asyncio.sleep(0.5)
        world.store.lose()
        await asyncio.sleep(10)
        assert asked(world) == ["a0"]
        assert world.ids() == ["a0"], "what was on its way was delivered, and the store is told"
        assert world.ids(world.store.let) == ["a1", "a2", "a3", "a4"]
        assert world.metric(LET_GO) == 4
        assert world.consumer._window.count == world.consumer._window.bytes == 0

    run(main)


def test_a_retry_that_it_kept_itself_is_not_made():
    async def main():
        world = World(ordered(delay_s=10.0), script=lambda asked: (0.01, 503))
        world.store.offer(event("1"), event("2"))
        await asyncio.sleep(5)
        world.store.lose()
        await asyncio.sleep(60)
        assert asked(world) == ["1"]
        assert [(d.record.event.id, d.attempt) for d in world.store.let] == [("1", 2), ("2", 1)]

    run(main)


def test_a_failure_that_is_heard_too_late_leads_to_no_retry_here():
    async def main():
        world = World(ordered(), script=lambda asked: (1.0, 503))
        world.store.offer(event("1"))
        await asyncio.sleep(0.5)
        world.store.lose()
        await asyncio.sleep(60)
        assert asked(world) == ["1"]
        assert world.ids(world.store.let) == ["1"]
        assert world.metric("dataplane_broker_deliveries_total", outcome="retried") == 0

    run(main)


def test_what_is_heard_too_late_is_neither_parked_nor_dead_lettered_nor_replied_to():
    async def main():
        for said, sink in ((400, False), (400, True), ("reply", False)):
            answer = (1.0, 200, REPLY, b"") if said == "reply" else (1.0, said)
            world = World(ordered(sink=sink), script=lambda asked, answer=answer: answer)
            world.store.offer(event("1"))
            await asyncio.sleep(0.5)
            world.store.lose()
            await asyncio.sleep(60)
            assert [one.url == SINK for one in world.asked] == [False]
            assert world.store.parked == world.store.replies == []
            assert world.ids(world.store.let) == ["1"]
            assert world.metric("dataplane_broker_given_up_total") == 0

    run(main)


def test_what_is_on_its_way_is_not_sent_once_more_when_its_connection_is_lost_too_late():
    async def main():
        for what, repeated in ((ordered(), False), (trigger(), True)):
            world = World(what, script=lambda asked: (1.0, 204))
            world.store.offer(event("1"))
            await asyncio.sleep(0.5)
            (attempt,) = (call for line in world.lines for call in line.open)
            assert attempt.may_repeat()
            world.store.lose()
            assert attempt.may_repeat() is repeated

    run(main)


def test_the_turn_of_the_dead_letter_sink_is_not_taken():
    async def main():
        def script(asked):
            return (0.01, 503) if asked.url == SINK else (0.01, 400)

        world = World(ordered(sink=True, delay_s=10.0), script=script)
        world.store.offer(event("1"))
        await asyncio.sleep(5)
        assert [one.url == SINK for one in world.asked] == [False, True]
        world.store.lose()
        await asyncio.sleep(60)
        assert len(world.asked) == 2
        assert world.ids(world.store.let) == ["1"]

    run(main)


def test_what_sleeps_is_let_go_when_the_store_says_so():
    async def main():
        world = World(ordered(delay_s=600.0), script=lambda asked: (0.01, 503))
        world.store.offer(event("1"), event("2"))
        await asyncio.sleep(1)
        world.store.lose()
        world.consumer.revoked()
        assert world.ids(world.store.let) == ["1", "2"]
        assert world.consumer.room() > 0
        world.store.regain()
        await asyncio.sleep(1)
        assert asked(world) == ["1", "1"], "the lane is free at once"

    run(main)


def test_when_the_rate_lets_one_begin_all_of_the_lane_is_let_go():
    """Otherwise the second would begin, when there is a token and the lane is ours again, before the first comes again."""

    async def main():
        world = World(ordered(rate_per_s=1.0))
        world.store.offer(*(event(str(n)) for n in range(6)))
        await asyncio.sleep(2.5)
        world.store.lose()
        await asyncio.sleep(1)
        world.store.regain()
        await asyncio.sleep(60)
        assert asked(world) == [str(n) for n in range(6)]

    run(main)


def test_a_delayed_event_of_a_lane_that_passed_is_not_put_off_here():
    async def main():
        world = World(ordered())
        record = Record(event=event("1"), arrived_at=world.clock.wall(), not_before=world.clock.wall() + 60)
        delivery = Delivery(record, "1")
        world.store.out["1"] = delivery
        world.store.lose()
        world.consumer.deliver([delivery])
        assert world.store.laters == []
        assert world.store.let == [delivery]

    run(main)


def test_a_loss_is_said_once(caplog):
    async def main():
        world = World(ordered())
        world.store.offer(*(event(f"{key}{n}", partitionkey=key) for n in range(20) for key in "abcd"))
        await asyncio.sleep(0.05)
        world.store.lose()
        await asyncio.sleep(60)
        assert world.metric(LET_GO) > 40

    run(main)
    assert [record.message.split(":")[0] for record in caplog.records] == ["deliveries_let_go trigger=ns/tr"]


def test_unordered_what_waits_here_is_let_go_when_the_store_says_so_and_what_is_on_its_way_is_not():
    async def main():
        world = World(trigger(rate_per_s=1.0), script=lambda asked: (5.0, 204))
        world.store.offer(*(event(str(n)) for n in range(3)))
        await asyncio.sleep(0.5)
        held = [d for d in world.store.out.values()]
        world.store.lose()
        world.consumer.revoked()
        await asyncio.sleep(60)
        assert sorted(world.ids() + world.ids(world.store.let)) == sorted(d.record.event.id for d in held)
        assert world.ids() == ["0"]

    run(main)


@hypothesis_settings(max_examples=100)
@given(st.data(), st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 3.0]))
def test_whatever_happens_nothing_begins_that_is_not_ours_and_order_holds_across_processes(data, sink, retry, rate):
    async def main():
        history = []  # (id, whose), in the order of their beginnings
        outcomes = [204, 204, 503, 503, 400, ConnectFailed("x"), "reply"]

        def script(asked):
            assert world.store.sure, "an attempt began while another process may have it"
            history.append(asked.id)
            said, delay = data.draw(st.sampled_from(outcomes)), data.draw(st.sampled_from([0.001, 0.01, 0.5, 3.0]))
            return (delay, 200, REPLY, b"") if said == "reply" else (delay, said)

        settings = BrokerSettings(ordered_waiting_max=6)
        world = World(
            ordered(sink=sink, retry=retry, max_in_flight=2, rate_per_s=rate), script=script, settings=settings
        )
        store = world.store
        keys = defaultdict(list)
        elsewhere = []
        pauses = st.sampled_from([0.0, 0.0, 0.3, 2.0])
        for number in range(data.draw(st.integers(1, 15))):
            key = data.draw(st.sampled_from("abc"))
            keys[key].append(str(number))
            store.offer(event(str(number), partitionkey=key))
            await asyncio.sleep(data.draw(pauses))
            what = data.draw(st.sampled_from(["", "", "lose", "revoke", "regain", "pass"]))
            if what in ("lose", "revoke") and store.sure:
                store.lose()
                if what == "revoke":
                    world.consumer.revoked()
            elif what and not store.sure:
                taken = None
                if what == "pass":  # the other process delivers what is left, from the oldest on
                    ended = {d.position for d in store.settled} | {d.position for d, _, _ in store.parked}
                    ended |= {position for position, _ in elsewhere}
                    left = [(str(p), str(p - 1)) for p in range(1, number + 2) if str(p) not in ended]
                    some = left[: data.draw(st.integers(0, len(left)))]
                    history.extend(id for _, id in some)
                    elsewhere.extend(some)
                    taken = {position for position, _ in elsewhere}
                store.regain(taken)
        if not store.sure:
            store.regain()
        await asyncio.sleep(10_000)
        everyone = [id for ids in keys.values() for id in ids]
        ended = world.ids() + world.ids([d for d, _, _ in store.parked]) + [id for _, id in elsewhere]
        assert sorted(ended) == sorted(everyone), "each ends exactly once"
        assert store.out == {} and store.let == [] and not store.stale
        assert world.consumer._window.count == world.consumer._window.bytes == world.consumer._window.in_flight == 0
        for ids in keys.values():
            seen = [id for id in history if id in ids]
            assert seen == sorted(seen, key=ids.index), "an attempt began after one of a later event of its key"

    run(main)
