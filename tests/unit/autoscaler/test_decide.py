"""The autoscaler in virtual time: ticks, pokes, rest, and the timelines of §10.8 and §11."""

import asyncio

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.decide import AT_ONCE, LEARN_S, Autoscaler
from autoscaler.revision import Scaling
from dataplane.clock import SYSTEM
from dataplane.resources.scaling import Autoscaling
from dataplane.resources.snapshot import Change, Revision, Snapshot
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import Stat
from tests.unit.autoscaler.world import KEY, READY, World, run


def test_a_poke_is_answered_at_once():
    async def main():
        world = World()
        await asyncio.sleep(301.3)
        assert world.autoscaler.resting
        world.record(1, poke=True)
        assert world.trace == [(pytest.approx(301.3), 1)]
        assert (world.last.active, world.last.reason, world.last.proxy) == ("Unknown", "Queued", True)

    run(main)


def test_load_without_a_poke_while_nothing_is_wanted_is_answered_at_once():
    async def main():
        world = World()
        await asyncio.sleep(99.9)
        world.record(3)
        assert world.want == 1

    run(main)


def test_a_second_poke_while_something_is_wanted_waits_for_the_tick():
    async def main():
        world = World(obey=False)
        await asyncio.sleep(10.5)
        world.record(1, poke=True)
        told = len(world.decisions)
        world.record(500, reporter="activator-2", poke=True)
        assert len(world.decisions) == told
        await asyncio.sleep(1.6)
        assert world.want == 8  # ceil(501 / 70)

    run(main)


def test_from_zero_and_back_with_the_default_windows():
    async def main():
        world = World()
        await asyncio.sleep(100)
        world.record(1, poke=True)
        await asyncio.sleep(1)
        world.record(0)
        await asyncio.sleep(200)
        (up_at, up), (down_at, down) = world.trace
        assert (up_at, up, down) == (pytest.approx(100), 1, 0)
        assert 160 <= down_at <= 166
        assert (world.last.want, world.last.active, world.last.reason) == (0, "False", "NoTraffic")
        assert world.autoscaler.resting

    run(main)


def test_an_initial_pod_without_traffic_goes_after_one_window():
    async def main():
        world = World(Autoscaling())
        await asyncio.sleep(3)
        world.scale(1)
        assert world.last.active == "True"
        await asyncio.sleep(100)
        assert [want for _, want in world.trace] == [1, 0]  # held, then let go
        assert 63 <= world.trace[1][0] <= 66

    run(main)


def test_retention_adds_to_the_window():
    async def main():
        world = World(msgspec.structs.replace(READY, retention_s=30))
        world.record(1, poke=True)
        await asyncio.sleep(1)
        world.record(0)
        await asyncio.sleep(200)
        assert 91 <= world.trace[-1][0] <= 97
        assert world.want == 0

    run(main)


def test_an_idle_service_costs_no_timer():
    async def main():
        world = World(msgspec.structs.replace(READY, min_scale=2), pods=2)
        await world.report(lambda _: 5, 20)
        assert not world.autoscaler.resting
        await asyncio.sleep(400)
        assert world.autoscaler.resting
        told = len(world.decisions)
        await asyncio.sleep(100_000)
        assert len(world.decisions) == told
        assert world.want == 2

    run(main)


def test_load_after_a_rest_is_seen_within_a_tick():
    async def main():
        world = World(msgspec.structs.replace(READY, min_scale=1), pods=1)
        await asyncio.sleep(1001)
        assert world.autoscaler.resting
        at = world.now
        world.record(700)
        await asyncio.sleep(2)
        assert world.trace[0][0] - at <= 2
        assert world.want == 10

    run(main)


def test_five_hundred_waiting_at_concurrency_ten_want_72_within_the_panic_window():
    async def main():
        spec = Autoscaling(initialized=True, total=10, target=7)
        world = World(spec)
        await asyncio.sleep(50)
        world.record(1, poke=True)
        await world.report(lambda _: 500, 10)
        assert world.want == 72
        assert world.trace[-1][0] <= 56

    run(main)


def test_one_timer_serves_all_revisions_on_one_grid():
    async def main():
        world = World(msgspec.structs.replace(READY, min_scale=1), pods=1, obey=False)
        await world.report(lambda _: 100, 9.5)
        world.decisions.clear()
        times = []
        original = world.actuate
        world.autoscaler._actuate = lambda decisions: (times.append(world.loop.time()), original(decisions))
        await world.report(lambda _: 100, 10)
        assert times == pytest.approx([12, 14, 16, 18, 20])

    run(main)


def test_rps_counts_requests_not_concurrency():
    async def main():
        world = World(msgspec.structs.replace(READY, metric="rps", total=200, target=140), obey=False)
        await asyncio.sleep(10)
        world.record(1, requests=1, poke=True)
        await world.report(lambda _: 3, 10, requests=700)
        assert world.want == 5

    run(main)


def test_what_an_activator_has_counted_is_not_counted_again_by_the_pod():
    async def main():
        world = World(obey=False)
        await asyncio.sleep(10)
        for _ in range(10):
            world.autoscaler.record(
                [world.say(140), world.say(140, reporter="pod-0", proxied_concurrency=140.0, proxied_requests=140.0)]
            )
            await asyncio.sleep(1)
        assert world.want == 2

    run(main)


def test_min_scale_raised_is_applied_at_once():
    async def main():
        world = World(pods=1, obey=False)
        await asyncio.sleep(5)
        world.change(min_scale=4)
        assert world.want == 4

    run(main)


def test_an_unreachable_revision_goes_to_zero_past_its_min_scale():
    async def main():
        world = World(msgspec.structs.replace(READY, min_scale=4), pods=4)
        await asyncio.sleep(200)
        assert world.want == 4
        world.change(reachable=False)
        await asyncio.sleep(3)
        assert world.want == 0

    run(main)


def test_a_shorter_window_keeps_its_load():
    async def main():
        world = World(obey=False)
        await world.report(lambda _: 140, 10)
        world.change(stable_window_s=6, panic_window_s=1)
        await asyncio.sleep(1.9)
        assert world.last.stable_average == 140

    run(main)


def test_another_metric_starts_new_windows():
    async def main():
        world = World(pods=1, obey=False)
        await world.report(lambda _: 140, 10)
        world.change(metric="rps")
        assert world.why.decision.stable_average == 0

    run(main)


def test_a_revision_that_was_never_active_is_given_up_after_its_deadline():
    async def main():
        world = World(Autoscaling(progress_deadline_s=60))
        await asyncio.sleep(89)
        assert world.want == 0
        assert world.last.active == "Unknown"
        await asyncio.sleep(8)
        assert (world.last.active, world.last.reason, world.last.want) == ("False", "TimedOut", 0)

    run(main)


def test_an_unknown_revision_is_ignored():
    async def main():
        world = World()
        world.autoscaler.record([Stat("default/other", "gateway", 1, 1, poke=True)])
        assert world.trace == []
        assert world.autoscaler.explain("default/other") is None

    run(main)


def test_a_revision_without_autoscaling_is_not_scaled():
    async def main():
        world = World()
        fixed = Revision(namespace="default", name="hello-00001")
        world.autoscaler.apply(Snapshot(generation=9, revisions={KEY: fixed}), None)
        assert world.autoscaler.explain(KEY) is None

    run(main)


def test_metrics_carry_knatives_names_and_go_with_the_revision():
    async def main():
        world = World(pods=1, obey=False)
        await world.report(lambda _: 140, 10)
        labels = {
            "k8s_namespace_name": "default",
            "kn_service_name": "hello",
            "kn_configuration_name": "hello",
            "kn_revision_name": "hello-00001",
        }

        def series():
            return {
                sample.name: sample.value
                for family in text_string_to_metric_families(world.registry.render())
                for sample in family.samples
                if sample.labels == labels
            }

        shown = series()
        assert shown["kn_revision_pods_desired"] == 2
        assert shown["kn_revision_pods_requested"] == 2
        assert shown["kn_revision_pods_count"] == 1
        assert shown["kn_revision_pods_pending_count"] == 1
        assert shown["kn_revision_concurrency_stable"] == pytest.approx(140)
        assert shown["kn_revision_concurrency_target"] == 70
        assert shown["kn_revision_capacity_excess"] == 100 - 211 - 140
        assert shown["kn_revision_panic_mode"] == 1
        world.autoscaler.apply(Snapshot(generation=99), Change(generation=99, base=1, revisions={KEY: None}))
        assert series() == {}
        assert world.autoscaler.resting

    run(main)


def test_explanation_says_why():
    async def main():
        world = World(msgspec.structs.replace(READY, max_scale=3), pods=1, obey=False)
        await world.report(lambda _: 700, 10)
        why = world.why
        assert (why.decision.want, why.stable_need, why.rate_ceiling, why.state) == (3, 10, 1000, "active")
        assert why.because[0].startswith("700 requests at once over 60 s → 10")
        assert why.because[-1] == "max-scale 3"
        assert [(one.reporter, one.value, one.status) for one in why.reporters] == [("gateway", 700, "heard")]
        assert why.panic_ends_s == pytest.approx(60, abs=2)
        assert 0 < why.next_change_s <= 2
        assert why.at == pytest.approx(world.clock.wall())
        assert msgspec.json.decode(msgspec.json.encode(why), type=type(why)) == why

    run(main)


def test_a_thousand_busy_revisions_are_decided_in_slices():
    async def main():
        loop = asyncio.get_running_loop()
        sizes = []
        autoscaler = Autoscaler(
            loop=loop, clock=SYSTEM, registry=Registry(), actuate=lambda decisions: sizes.append(len(decisions))
        )
        revisions = {
            f"default/r{n}": Revision(namespace="default", name=f"r{n}", autoscaling=READY) for n in range(1000)
        }
        autoscaler.apply(Snapshot(generation=1, revisions=revisions), None)
        autoscaler.record([Stat(key, "gateway", 1.0, 1.0, poke=True) for key in revisions])
        sizes.clear()
        await asyncio.sleep(2.5)
        assert sum(sizes) == 1000
        assert max(sizes) == AT_ONCE
        autoscaler.close()

    run(main)


def test_a_first_snapshot_of_a_thousand_is_learned_in_slices(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        settle = Scaling.settle

        def slow(scaling, reporters, now):
            loop.spend(LEARN_S / 4)
            return settle(scaling, reporters, now)

        monkeypatch.setattr(Scaling, "settle", slow)
        told = []
        autoscaler = Autoscaler(loop=loop, clock=SYSTEM, registry=Registry(), actuate=told.append)
        spec = Autoscaling(initialized=True, min_scale=1)
        keys = [f"default/r{n}" for n in range(1000)]
        revisions = {key: Revision(namespace="default", name=key.partition("/")[2], autoscaling=spec) for key in keys}
        autoscaler.apply(Snapshot(generation=1, revisions=revisions), None)
        assert sum(map(len, told)) < 10
        # Load, a change and a removal do not wait for their slice.
        assert all(autoscaler.knows(key) for key in keys)
        autoscaler.record([Stat(keys[-1], "gateway", 5.0, 5.0, poke=True)])
        assert told[-1][-1].revision == keys[-1]
        more = msgspec.structs.replace(revisions[keys[-2]], autoscaling=Autoscaling(initialized=True, min_scale=7))
        change = Change(generation=2, base=1, revisions={keys[-2]: more, keys[-3]: None})
        del revisions[keys[-3]]
        autoscaler.apply(Snapshot(generation=2, revisions={**revisions, keys[-2]: more}), change)
        for _ in range(1000 // 4):
            await asyncio.sleep(0)
        assert max(map(len, told)) <= 5
        assert {decision.revision for batch in told for decision in batch} == set(keys) - {keys[-3]}
        assert not autoscaler.knows(keys[-3])
        await asyncio.sleep(2.5)
        assert {d.want for batch in told for d in batch if d.revision == keys[-2]} == {-1, 7}
        autoscaler.close()

    run(main)


def test_closed_means_silent():
    async def main():
        world = World(pods=1)
        await world.report(lambda _: 5, 3)
        world.autoscaler.close()
        told = len(world.decisions)
        world.record(1000)
        await asyncio.sleep(100)
        assert len(world.decisions) == told

    run(main)
