"""The autoscaler's fault rows (reliability.md §3.3) in virtual time. AS-06 and AS-07 over the wire: test_actuate.py."""

import asyncio
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.reporters import SILENT_S
from dataplane.clock import Clock
from dataplane.resources.scaling import Autoscaling
from dataplane.wire.stats import Stat
from tests.unit.autoscaler.world import KEY, READY, World, run

SPEC = msgspec.structs.replace(READY, total=10, target=7)


class Reporter:
    """A reporter behind a link, as StatsLink drives it: a stat a second while it has load, else an empty frame."""

    def __init__(self, world, name, link):
        self.world, self.name, self.link = world, name, link
        self.load = 0.0
        self.connected = False
        self.said = 0.0

    def connect(self):
        self.world.autoscaler.opened(self.link, (self.name,))
        self.connected = True

    def lose(self):
        self.connected = False
        self.world.autoscaler.closed(self.link, goodbye=False)

    def tell(self):
        if self.connected:
            stats = [self.world.say(self.load, reporter=self.name)] if self.load or self.said else []
            self.world.autoscaler.frame(self.link, stats)
            self.said = self.load


async def seconds(reporters, count):
    for _ in range(count):
        for reporter in reporters:
            reporter.tell()
        await asyncio.sleep(1)


def remote(world, names, load=0.0):
    reporters = [Reporter(world, name, link) for link, name in enumerate(names, 1)]
    for reporter in reporters:
        reporter.connect()
        reporter.load = load
    return reporters


def test_AS_01_a_missing_pod_counts_as_the_average_of_the_others():
    async def main():
        world = World(SPEC, pods=4, local=False, obey=False)
        pods = remote(world, [f"pod-{n}" for n in range(4)], load=7.0)
        await seconds(pods, 70)
        assert world.want == 4
        pods[0].lose()
        await seconds(pods, 50)
        assert world.want == 4
        assert world.why.missing_reporters == 1
        assert world.last.stable_average == pytest.approx(28, rel=0.05)

    run(main)


def test_AS_01_no_scale_down_while_fewer_than_half_report_but_up_is_allowed():
    async def main():
        world = World(SPEC, pods=4, local=False, obey=False)
        pods = remote(world, [f"pod-{n}" for n in range(4)], load=7.0)
        await seconds(pods, 70)
        for pod in pods[1:]:
            pod.lose()
        pods[0].load = 1.0
        await seconds(pods[:1], 50)
        assert world.why.decision.desired < 4
        assert world.want == 4
        assert "reporters-missing" in world.last.limits
        pods[0].load = 40.0
        await seconds(pods[:1], 8)
        assert world.want > 4

    run(main)


def test_AS_01_a_pod_that_was_taken_away_is_not_missing():
    async def main():
        world = World(SPEC, pods=4, local=False, obey=False)
        pods = remote(world, [f"pod-{n}" for n in range(4)], load=3.0)
        await seconds(pods, 70)
        for pod in pods[1:]:
            pod.lose()
        world.scale(1)
        await seconds(pods[:1], 3)
        assert (world.why.expected_reporters, world.why.missing_reporters) == (1, 0)

    run(main)


def test_AS_02_all_stats_missing_holds_the_last_decision():
    async def main():
        world = World(SPEC, pods=0, local=False)
        (gateway,) = remote(world, ["gateway"], load=28.0)
        await seconds([gateway], 70)
        assert world.want == 4
        gateway.lose()
        await asyncio.sleep(3600)
        assert world.want == 4
        assert "dataplane_autoscaler_revisions_without_data 1\n" in world.registry.render()
        assert world.why.because[-1] == "nobody reports: the last decision stands"
        gateway.connect()
        await seconds([gateway], 5)
        assert world.want == 4
        assert "dataplane_autoscaler_revisions_without_data 0\n" in world.registry.render()

    run(main)


def test_AS_02_a_short_gap_in_the_data_is_no_dip():
    async def main():
        world = World(SPEC, pods=0, local=False)
        (gateway,) = remote(world, ["gateway"], load=28.0)
        await seconds([gateway], 70)
        averages = []
        gateway.lose()
        await seconds([gateway], 40)
        gateway.connect()
        for _ in range(60):
            await seconds([gateway], 1)
            averages.append(world.last.stable_average)
        assert min(averages) > 27
        assert world.want == 4

    run(main)


def test_AS_02_a_reporter_that_hangs_is_missing_although_its_connection_is_open():
    async def main():
        world = World(SPEC, pods=0, local=False)
        (gateway,) = remote(world, ["gateway"], load=28.0)
        await seconds([gateway], 70)
        await asyncio.sleep(SILENT_S + 200)
        assert world.want == 4
        assert world.why.reporters[0].status == "missing"

    run(main)


def test_AS_02_silence_of_a_connected_reporter_is_zero():
    async def main():
        world = World(SPEC, pods=0, local=False)
        (gateway,) = remote(world, ["gateway"], load=5.0)
        await seconds([gateway], 30)
        gateway.load = 0.0
        await seconds([gateway], 70)
        assert world.want == 0

    run(main)


def test_AS_02_nobody_connected_since_the_start_means_nothing():
    async def main():
        world = World(SPEC, pods=3, local=False)
        await asyncio.sleep(10_000)
        assert world.trace == []

    run(main)


def test_AS_02_when_somebody_connects_at_last_idle_pods_may_go():
    async def main():
        world = World(SPEC, pods=1, local=False)
        await asyncio.sleep(1000)
        gateways = remote(world, ["gateway"])
        await seconds(gateways, 70)
        assert world.want == 0

    run(main)


def test_AS_02_not_to_zero_while_a_reporter_that_had_load_is_lost():
    async def main():
        world = World(SPEC, pods=0, local=False)
        busy, idle = remote(world, ["gateway-1", "gateway-2"])
        busy.load = 28.0
        await seconds([busy, idle], 70)
        busy.lose()
        await seconds([idle], 200)
        assert world.want == 1
        assert "reporter-lost" in world.last.limits
        await seconds([idle], 600)
        assert world.want == 0

    run(main)


def test_AS_02_a_reporter_that_said_goodbye_is_not_missed():
    async def main():
        world = World(SPEC, pods=0, local=False)
        leaving, staying = remote(world, ["gateway-1", "gateway-2"])
        leaving.load = 28.0
        await seconds([leaving, staying], 70)
        world.autoscaler.closed(leaving.link, goodbye=True)
        await seconds([staying], 75)
        assert world.want == 0

    run(main)


def load_of_a_day(now):
    return 60 + 50 * math.sin(now / 40) + (300 if 200 < now < 230 else 0)


@pytest.mark.parametrize(
    "jump",
    [
        lambda t: 0.0,
        lambda t: 3600.0 if t > 150 else 0.0,
        lambda t: -3600.0 if t > 150 else 0.0,
        lambda t: 400 * 86400.0 if 100 < t < 300 else 0.0,
        lambda t: -400 * 86400.0 if t > 100 else 0.0,
        lambda t: t * 0.0005,  # NTP slew
    ],
)
def test_AS_03_wall_clock_jumps_change_no_decision(jump):
    def trace(offset):
        async def main():
            loop = asyncio.get_running_loop()
            clock = Clock(monotonic=loop.time, wall=lambda: 1.8e9 + loop.time() + offset(loop.time()))
            world = World(SPEC, clock=clock)
            await world.report(load_of_a_day, 500)
            return world.trace, [(d.want, d.desired, d.panicking, d.stable_average) for d in world.decisions]

        return run(main)

    assert trace(jump) == trace(lambda _: 0.0)


def test_AS_03_golden_trace():
    """Load as above, pods a second after they are wanted. A change here is one of behaviour: say so in changes/."""

    async def main():
        world = World(SPEC)
        await world.report(load_of_a_day, 240)
        await asyncio.sleep(200)
        return world.trace

    assert [(round(at), want) for at, want in run(main)] == GOLDEN


# fmt: off
GOLDEN = [
    (0, 9), (6, 10), (12, 11), (18, 12), (24, 13), (30, 14), (38, 15), (48, 16),  # 9 at once, then the window fills
    (62, 14), (70, 15), (88, 16),  # panic mode ended; the valley is flattened by the window
    (190, 8), (192, 4), (198, 3),
    (202, 11), (204, 28), (206, 45), (210, 46), (220, 47), (228, 48),  # the burst, by the panic window
    (300, 24), (302, 12), (304, 6), (306, 3), (308, 1), (310, 0),  # panic mode ended: by halves to zero
]
# fmt: on


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_AS_04_hostile_numbers_are_ignored_and_counted(number):
    async def main():
        world = World(SPEC, pods=2, obey=False)
        for field in ("concurrency", "proxied_concurrency"):
            stat = msgspec.structs.replace(world.say(1.0, reporter="evil"), **{field: number})
            world.autoscaler.record([stat])
        await world.report(lambda _: 14, 20)
        assert world.last.stable_average == 14
        text = 'dataplane_autoscaler_stats_rejected_total{reporter="evil",reason="number"} 2\n'
        assert text in world.registry.render()

    run(main)


def test_AS_04_repeated_and_replayed_frames_count_once():
    async def main():
        world = World(SPEC, pods=2, obey=False)
        for _ in range(20):
            for _ in range(50):
                world.record(14)
            await asyncio.sleep(0.3)
            world.record(14)
            await asyncio.sleep(0.7)
        assert world.last.stable_average == pytest.approx(14)

    run(main)


def test_AS_04_one_reporter_cannot_grow_the_state_without_bound():
    async def main():
        world = World(SPEC, pods=2, local=False, obey=False)
        world.autoscaler.opened(1)
        for n in range(100):
            world.autoscaler.frame(1, [world.say(1.0, reporter=f"alias-{n}")])
        assert len(world.why.reporters) == 16
        assert 'reason="reporters"} 84\n' in world.registry.render()

    run(main)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(), st.floats(), st.floats(0, 1.5)), max_size=30))
def test_AS_04_no_number_breaks_the_autoscaler(script):
    async def main():
        world = World(SPEC, pods=2, obey=False)
        for name, concurrency, proxied, pause in script:
            world.autoscaler.record([Stat(KEY, name, concurrency, 0.0, proxied)])
            await asyncio.sleep(pause)
        await asyncio.sleep(5)
        assert all(math.isfinite(d.stable_average) and d.want >= -1 for d in world.decisions)

    run(main)


def test_AS_05_no_scale_down_for_one_window_after_a_restart():
    async def main():
        world = World(SPEC, pods=6)
        await world.report(lambda _: 42, 100)
        assert world.want == 6
        world.autoscaler.close()
        world.trace.clear()
        restarted_at = world.now
        world.begin()
        await world.report(lambda _: 7, 200)
        assert world.trace[0][0] - restarted_at >= 60
        assert world.want == 1

    run(main)


def test_AS_05_a_restart_under_steady_load_makes_no_scale_event():
    async def main():
        world = World(SPEC, pods=6)
        await world.report(lambda _: 42, 100)
        world.autoscaler.close()
        world.trace.clear()
        world.begin(local=False)
        await asyncio.sleep(2)  # the gateway connects again
        (gateway,) = remote(world, ["gateway"], load=42.0)
        await seconds([gateway], 200)
        assert world.trace == []

    run(main)


def test_AS_05_a_restart_with_requests_waiting_starts_the_first_pod_within_two_seconds():
    async def main():
        world = World(SPEC, pods=0, local=False)
        await asyncio.sleep(100)
        (gateway,) = remote(world, ["gateway"])
        at = world.now
        world.autoscaler.frame(gateway.link, [world.say(1, reporter="gateway", poke=True)])
        assert world.want == 1
        assert world.now - at <= 2

    run(main)


def test_AS_05_pods_that_appear_after_the_restart_are_kept_as_well():
    async def main():
        world = World(SPEC)
        await asyncio.sleep(1)
        world.scale(6)
        await world.report(lambda _: 7, 58)
        assert world.trace == []
        assert "restart" in world.last.limits
        await world.report(lambda _: 7, 20)
        assert world.want == 1

    run(main)


def test_AS_05_bounds_hold_during_the_restart_window():
    async def main():
        world = World(msgspec.structs.replace(SPEC, max_scale=4), pods=6)
        await asyncio.sleep(2)
        assert world.want == 4

    run(main)


def test_AS_07_a_failed_hand_over_is_repeated_with_the_newest_decision():
    async def main():
        world = World(SPEC, obey=False)
        await asyncio.sleep(10)
        world.failures = 4
        world.record(1, poke=True)
        assert world.want == 0
        await world.report(lambda _: 70, 10)
        assert world.trace[0][0] < 13
        assert world.want == 10
        assert "dataplane_autoscaler_actuation_failures_total 4\n" in world.registry.render()

    run(main)


def test_AS_07_an_older_decision_never_follows_a_newer_one():
    async def main():
        world = World(SPEC, obey=False)
        await asyncio.sleep(10)
        world.failures = 1
        world.record(1, poke=True)
        world.change(min_scale=5)
        await asyncio.sleep(0.5)
        assert [want for _, want in world.trace] == [5]

    run(main)


def test_AS_07_whatever_fails_what_arrives_is_within_bounds_and_rates():
    async def main():
        spec = msgspec.structs.replace(SPEC, min_scale=1, max_scale=8, max_scale_up_rate=2.0)
        world = World(spec, pods=1)
        for _ in range(20):
            world.failures = 3
            await world.report(lambda _: 500, 5)
        assert all(1 <= decision.want <= 8 for decision in world.decisions if decision.want >= 0)
        assert all(decision.want <= 2 * max(1, decision.ready) for decision in world.decisions)
        assert world.want == 8

    run(main)


def turns(world):
    """When the scale changed its direction."""
    wants = [0, *(want for _, want in world.trace)]
    moves = [(at, after > before) for (at, after), before in zip(world.trace, wants, strict=False)]
    return [at for (at, up), (_, was_up) in zip(moves[1:], moves, strict=False) if up != was_up]


@pytest.mark.parametrize("period", [6.0, 20.0, 45.0, 60.0, 66.0, 90.0, 120.0])
@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (2.0, 9.0), (5.0, 100.0), (20.0, 30.0)])
def test_AS_08_a_square_wave_turns_the_scale_at_most_once_per_window(period, low, high):
    async def main():
        world = World(SPEC)
        windows = 20
        await world.report(lambda now: high if now % period < period / 2 else low, windows * 60)
        # Two turns to learn that it is a wave; one that rests for a whole window at its foot is no flapping.
        assert len(turns(world)) <= (2 if period <= 90 else windows), world.trace

    run(main)


def test_AS_08_one_pod_under_a_load_for_slightly_more_than_one_does_not_flap():
    async def main():
        world = World(Autoscaling(initialized=True, total=100, target=70))
        await world.report(lambda now: 66 if now % 10 < 5 else 72, 1200)
        assert len(turns(world)) <= 2, world.trace

    run(main)
