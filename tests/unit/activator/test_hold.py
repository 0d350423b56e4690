"""Slots and the queue of one revision, in virtual time: AC-01, AC-02, AC-05, AC-09, AC-10."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activator.hold import SUSPECT_PATIENCE_S, Bytes, Hold, HoldSettings, Watcher
from dataplane.errors import ConnectFailed, NoCapacity, QueueFull, QueueTimeout
from dataplane.net.timers import NEVER
from dataplane.resources.snapshot import Endpoint, Revision


class Wheel:
    """Timers of which the test is the clock."""

    def __init__(self):
        self.now, self.entries = 0.0, set()

    def at(self, entry, when):
        if when < entry.wake:
            entry.wake = when
            self.entries.add(entry)

    def forget(self, entry):
        entry.wake = NEVER
        self.entries.discard(entry)

    def pass_to(self, then):
        while True:
            due = [e for e in self.entries if e.wake <= then]
            if not due:
                break
            entry = min(due, key=lambda e: e.wake)
            self.now = max(self.now, entry.wake)
            self.entries.discard(entry)
            entry.wake = NEVER
            entry.on_timer(self.now)
        self.now = then


class Client:
    def __init__(self, name, log):
        self.name, self.log, self.slot, self.error = name, log, None, None

    def granted(self, slot):
        self.slot = slot
        self.log.append(self.name)

    def refused(self, error):
        self.error = error


class Bench:
    def __init__(self, *, pods=0, limit=0, depth_max=100, bytes_max=10**9):
        self.wheel, self.order, self.demands, self.probes = Wheel(), [], [], []
        self.limit = limit
        self.bytes = Bytes()
        self.hold = Hold(
            self.revision(pods),
            settings=HoldSettings(depth_max=depth_max, bytes_max=bytes_max),
            timers=self.wheel,
            clock=lambda: self.wheel.now,
            random=random.Random(0).random,
            watcher=Watcher(demand=lambda hold, urgent: self.demands.append(urgent), probe=self.probes.append),
            waiting=self.bytes,
        )

    def revision(self, pods, **more):
        names = range(pods) if isinstance(pods, int) else pods
        endpoints = tuple(Endpoint(id=f"p{i}", address=f"127.0.0.1:{1000 + i}", **more) for i in names)
        return Revision(namespace="d", name="r", container_concurrency=self.limit, endpoints=endpoints)

    def pods(self, pods, **more):
        self.hold.update(self.revision(pods, **more))

    def client(self, name, deadline=300.0, size=100):
        client = Client(name, self.order)
        client.slot = self.hold.take("")
        if client.slot is None:
            self.hold.wait(client, deadline=deadline, size_bytes=size)
        return client


def test_capacity_is_pods_times_limit_and_unlimited_at_zero():
    assert Bench(pods=3, limit=2).hold.capacity == 6
    assert Bench(pods=3, limit=0).hold.capacity is None
    assert Bench(pods=0, limit=0).hold.capacity == 0


def test_with_capacity_a_slot_is_given_at_once():
    bench = Bench(pods=1)
    assert bench.client("a").slot.pod == "p0"
    assert bench.hold.depth == 0


def test_waiters_are_released_oldest_first_when_a_pod_comes():
    bench = Bench(limit=2)
    for i in range(5):
        bench.client(i)
    bench.pods(1)
    assert bench.order == [0, 1]
    bench.hold.leave(bench.hold.pods["p0"], failed=False)
    assert bench.order == [0, 1, 2]


def test_a_new_arrival_never_overtakes_those_who_wait():
    bench = Bench(pods=1, limit=1)
    first = bench.client("first")
    bench.client("second")
    bench.hold.leave(first.slot, failed=False)
    assert bench.order == ["second"]
    assert bench.hold.take("") is None


def test_AC_01_the_queue_is_bounded_by_count_and_by_bytes():
    bench = Bench(depth_max=2)
    bench.client(1)
    bench.client(2)
    with pytest.raises(QueueFull):
        bench.client(3)
    bench = Bench(bytes_max=250)
    bench.client(1)
    bench.client(2)
    with pytest.raises(QueueFull):
        bench.client(3)
    assert bench.bytes.waiting == 200


def test_AC_02_a_waiter_that_leaves_gives_its_place_back_and_is_not_counted():
    bench = Bench(limit=1)
    first, second = bench.client("first"), bench.client("second")
    bench.hold.abandon(first)
    assert (bench.hold.depth, bench.hold.meter.running, bench.bytes.waiting) == (1, 1, 100)
    bench.pods(1)
    assert bench.order == ["second"]
    assert second.slot is not None


def test_waiting_ends_at_the_deadline_with_a_504():
    bench = Bench()
    early, late = bench.client("early", deadline=10.0), bench.client("late", deadline=20.0)
    bench.wheel.pass_to(10.0)
    assert isinstance(early.error, QueueTimeout)
    assert late.error is None
    assert bench.hold.depth == 1


def test_an_empty_queue_keeps_no_timer():
    bench = Bench()
    client = bench.client("a", deadline=10.0)
    bench.hold.abandon(client)
    bench.wheel.pass_to(11.0)
    assert bench.wheel.entries == set()


def test_AC_03_a_pod_that_failed_is_not_used_until_it_proved_itself():
    bench = Bench(pods=2)
    slot = bench.client("a").slot
    bench.hold.leave(slot, failed=True)
    assert bench.probes == [slot]
    assert all(bench.client(i).slot.pod != slot.pod for i in range(10))
    bench.hold.proved(slot)
    assert {bench.client(i).slot.pod for i in range(20)} == {"p0", "p1"}


def test_AC_03_when_every_pod_failed_waiters_are_kept_a_moment_for_a_replacement():
    bench = Bench(pods=1)
    bench.hold.leave(bench.client("a").slot, failed=True)
    waiter = bench.client("b")
    assert waiter.slot is None
    bench.wheel.pass_to(SUSPECT_PATIENCE_S / 2)
    bench.pods([7])
    assert waiter.slot.pod == "p7"


def test_AC_03_without_a_replacement_they_get_an_error_soon_not_at_their_deadline():
    bench = Bench(pods=1)
    bench.hold.leave(bench.client("a").slot, failed=True)
    waiter = bench.client("b")
    bench.wheel.pass_to(SUSPECT_PATIENCE_S + 0.1)
    assert isinstance(waiter.error, ConnectFailed)
    assert bench.client("c").slot.pod == "p0"  # then a suspect is tried: it fails or heals at once


def test_AC_04_a_sidecar_gets_nothing_until_its_probe_passed():
    bench = Bench()
    bench.pods(1, sidecar=True)
    assert [pod.pod for pod in bench.probes] == ["p0"]
    waiter = bench.client("a")
    assert waiter.slot is None
    bench.hold.proved(bench.hold.pods["p0"])
    assert waiter.slot.pod == "p0"


def test_AC_05_a_storm_at_zero_is_served_in_order():
    bench = Bench(limit=10)
    clients = [bench.client(i) for i in range(100)]
    bench.pods(3)
    while bench.hold.meter.running:
        done = next(c for c in clients if c.slot is not None)
        clients.remove(done)
        bench.hold.leave(done.slot, failed=False)
    assert bench.order == list(range(100))


def test_AC_10_capacity_that_shrinks_takes_nothing_back_and_holds_for_new_requests():
    bench = Bench(pods=2, limit=1)
    clients = [bench.client(i) for i in range(2)]
    bench.pods([0])
    assert bench.hold.meter.running == 2
    waiting = bench.client("late")
    assert waiting.slot is None
    gone = next(c for c in clients if c.slot.pod == "p1")
    bench.hold.leave(gone.slot, failed=False)
    assert waiting.slot is None
    assert "p1" not in bench.hold.pods
    kept = next(c for c in clients if c.slot.pod == "p0")
    bench.hold.leave(kept.slot, failed=False)
    assert waiting.slot.pod == "p0"


def test_in_flight_survives_an_unready_blip():
    bench = Bench(pods=1, limit=2)
    bench.client("a")
    bench.pods(1, ready=False)
    assert bench.hold.take("") is None
    bench.pods(1)
    assert bench.hold.pods["p0"].in_flight == 1
    assert bench.client("b").slot is not None
    assert bench.client("c").slot is None


def test_a_draining_pod_finishes_and_gets_nothing_new():
    bench = Bench(pods=2, limit=1)
    bench.pods(2, draining=True)
    assert bench.hold.take("") is None


def test_a_retry_goes_to_another_pod_when_there_is_one():
    bench = Bench(pods=3)
    for _ in range(30):
        assert bench.hold.take("p1").pod != "p1"


def test_a_failed_revision_refuses_at_once():
    bench = Bench()
    waiter = bench.client("a")
    bench.hold.update(Revision(namespace="d", name="r", failed="exit code 1"))
    assert isinstance(waiter.error, NoCapacity)
    with pytest.raises(NoCapacity):
        bench.client("b")


def test_demand_is_urgent_only_when_nothing_can_serve():
    bench = Bench()
    bench.client("a")
    assert bench.demands == [True]
    bench = Bench(pods=1)
    bench.client("a")
    assert bench.demands == [False]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 4),
    st.lists(
        st.tuples(st.sampled_from(["arrive", "leave", "fail", "abandon", "pods", "prove", "tick"]), st.integers(0, 5)),
        min_size=4,
        max_size=60,
    ),
)
def test_any_interleaving_loses_no_slot_and_exceeds_no_limit(limit, script):
    bench = Bench(limit=limit, depth_max=5)
    clients = []
    for verb, n in script:
        running = [c for c in clients if c.slot is not None]
        waiting = [c for c in clients if c.slot is None and c.error is None]
        if verb == "arrive":
            try:
                clients.append(bench.client(len(clients), deadline=bench.wheel.now + 10))
            except QueueFull:
                assert len(waiting) == 5
        elif verb in ("leave", "fail") and running:
            client = running[n % len(running)]
            clients.remove(client)
            slot, client.slot = client.slot, None
            bench.hold.leave(slot, failed=verb == "fail")
        elif verb == "abandon" and waiting:
            client = waiting[n % len(waiting)]
            clients.remove(client)
            bench.hold.abandon(client)
        elif verb == "pods":
            bench.pods(n)
        elif verb == "prove":
            for pod in list(bench.hold.pods.values()):
                if not pod.proven and pod.listed:
                    bench.hold.proved(pod)
        elif verb == "tick":
            bench.wheel.pass_to(bench.wheel.now + n)
        running = [c for c in clients if c.slot is not None]
        waiting = [c for c in clients if c.slot is None and c.error is None]
        assert bench.hold.depth == len(waiting)
        assert bench.hold.running == len(running)
        assert bench.hold.meter.running == len(running) + len(waiting)
        for pod in bench.hold.pods.values():
            assert pod.in_flight == sum(c.slot is pod for c in running)
            assert not limit or pod.in_flight <= limit
        if waiting:
            usable = [p for p in bench.hold.pods.values() if p.usable]
            assert all(limit and p.in_flight >= limit for p in usable), "somebody waits while a slot is free"


def test_a_limit_that_grows_lets_waiters_go_and_one_that_shrinks_counts_for_what_comes():
    bench = Bench(pods=1, limit=2)
    names = [bench.client(i) for i in range(5)]
    assert [client.name for client in names if client.slot] == [0, 1]
    bench.limit = 4
    bench.pods(1)
    assert bench.order == [2, 3]
    assert bench.hold.pods["p0"].in_flight == 4
    bench.limit = 1
    bench.pods(1)
    for _ in range(3):
        bench.hold.leave(bench.hold.pods["p0"], failed=False)
    assert bench.order == [2, 3]  # four run where one may
    bench.hold.leave(bench.hold.pods["p0"], failed=False)
    assert bench.order == [2, 3, 4]


@pytest.mark.parametrize(("before", "after"), [(1, 0), (1, 5), (5, 3), (0, 2)])
def test_the_policy_of_picking_follows_the_limit(before, after):
    bench = Bench(pods=2, limit=before)
    bench.client("a")
    bench.limit = after
    bench.pods(2)
    taken = [bench.hold.take("") for _ in range(2 * after or 20)]
    assert sum(pod is not None for pod in taken) == (2 * after - 1 if after else 20)
