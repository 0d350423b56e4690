"""What a snapshot wants is brought about, one broker at a time, and nothing is deleted that was not said to be gone."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from broker import keep
from broker.service import BrokerService
from broker.settings import BrokerSettings
from broker.store.contract import LogSettings, Start
from dataplane.clock import Clock
from dataplane.errors import ConfigFault, StoreUnavailable
from dataplane.policy.filters import compile_filters
from dataplane.resources.snapshot import Snapshot, difference, full
from dataplane.resources.triggers import Broker, Reported, Target, Trigger
from dataplane.telemetry.metrics import Registry


class Runner:
    def __init__(self, trigger: Trigger, filter_: object, broker: str) -> None:
        self.trigger, self.key, self.name = trigger, trigger.uid, f"{trigger.namespace}/{trigger.name}"
        if "://" not in trigger.subscriber.url:
            raise ConfigFault("the URL must be absolute")
        self.ordered, self.interest = trigger.ordered, None
        self.subscription: object = None
        self.calls: list[str] = []

    def attach(self, subscription: object) -> None:
        self.subscription = subscription

    def update(self, trigger: Trigger, filter_: object) -> None:
        self.trigger = trigger
        self.calls.append("update")

    async def drain(self, deadline: float) -> None:
        self.calls.append("drain")

    def close(self) -> None:
        self.calls.append("close")


class Subscription:
    def __init__(self, log: "Log", start: Start) -> None:
        self.log, self.start, self.closed = log, start, False

    async def close(self) -> None:
        self.closed = True


class Log:
    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self.forgotten: list[str] = []
        self.refuse = False
        self.forgets = asyncio.Event()  # cleared: it takes its time
        self.forgets.set()

    async def subscribe(self, consumer: object, start: Start) -> Subscription:
        if self.refuse:
            raise StoreUnavailable("away")
        self.subscriptions.append(Subscription(self, start))
        return self.subscriptions[-1]

    async def forget(self, trigger: str) -> None:
        await self.forgets.wait()
        self.forgotten.append(trigger)

    def shown(self) -> dict[str, str]:
        return {"default.topic": "t"}


class Store:
    durability = "memory"

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}
        self.deleted: list[str] = []
        self.away: set[str] = set()
        self.closed = False

    async def start(self) -> None: ...

    async def open(self, broker: str, settings: LogSettings) -> Log:
        if broker in self.away:
            raise StoreUnavailable(f"{broker} is away")
        return self.logs.setdefault(broker, Log())

    async def delete(self, broker: str, settings: LogSettings | None = None) -> None:
        while broker in self.away:
            await asyncio.sleep(0)
        self.deleted.append(broker)
        self.deleted_with = settings
        self.logs.pop(broker, None)

    def not_ready(self) -> str:
        return ""

    async def close(self) -> None:
        self.closed = True


class World:
    def __init__(self) -> None:
        self.store = Store()
        self.kinds: list[str] = []
        self.reports: dict[str, Reported] = {}
        self.runners: list[Runner] = []
        self.snapshot = Snapshot()
        self.service = BrokerService(
            settings=BrokerSettings(),
            make_store=self._make_store,  # type: ignore[arg-type]
            make_runner=self._make_runner,  # type: ignore[arg-type]
            clock=Clock(asyncio.get_running_loop().time, lambda: 1_800_000_000.5),
            registry=Registry(),
            report=lambda one: self.reports.__setitem__(f"{one.kind} {one.key}", one),
        )

    def _make_store(self, kind: str) -> Store:
        self.kinds.append(kind)
        return self.store

    def _make_runner(self, trigger: Trigger, filter_: object, broker: str) -> Runner:
        self.runners.append(Runner(trigger, filter_, broker))
        return self.runners[-1]

    def change(self, brokers: dict[str, Broker], triggers: dict[str, Trigger]) -> None:
        """What a publisher says: exactly this is different."""
        snapshot = Snapshot(generation=self.snapshot.generation + 1, brokers=brokers, triggers=triggers)
        change = difference(self.snapshot, snapshot)
        self.snapshot = snapshot
        self.service.apply(snapshot, change)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0)

    def ready(self, what: str) -> bool:
        return what in self.reports and self.reports[what].ready


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.service.drain()


def broker(name: str = "b", **more: object) -> dict[str, Broker]:
    given = {"uid": f"uid-{name}", **more}
    return {f"default/{name}": Broker(namespace="default", name=name, **given)}  # type: ignore[arg-type]


def trigger(name: str = "t", on: str = "b", **more: object) -> dict[str, Trigger]:
    given = {"uid": f"uid-{name}", "subscriber": Target(url="http://127.0.0.1:1/"), **more}
    return {f"default/{name}": Trigger(namespace="default", name=name, broker=on, **given)}  # type: ignore[arg-type]


async def test_a_trigger_that_begins_at_the_end_says_when_that_was(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    assert world.reports["trigger default/t"].start == "2027-01-15T08:00:00.500000Z"


async def test_a_broker_is_opened_and_its_trigger_subscribed_and_both_are_reported(world: World):
    world.change(broker(), trigger(start="earliest"))
    await world.until(lambda: world.ready("trigger default/t"))
    assert world.reports["broker default/b"].durability == "memory"
    assert world.store.logs["default/b"].subscriptions[0].start == Start("earliest")
    assert world.reports["trigger default/t"].start == "earliest"
    assert world.service.log("default/b") is world.store.logs["default/b"]
    assert world.service.trigger("default/t") is not None
    assert world.kinds == ["sqlite"], "the default of the process"


async def test_a_broker_whose_store_is_away_holds_up_no_other_and_comes_back_by_itself(world: World):
    world.store.away = {"default/a"}
    world.change(broker("a") | broker("b"), trigger("t", "b"))
    await world.until(lambda: world.ready("trigger default/t"))
    assert not world.ready("broker default/a")
    assert "away" in world.reports["broker default/a"].message
    world.store.away = set()
    await world.until(lambda: world.ready("broker default/a"))


async def test_a_broker_that_waits_for_its_configuration_is_known_and_not_open(world: World):
    world.change(broker(waits_for='Secret "default/login" not found'), trigger())
    await world.until(lambda: "broker default/b" in world.reports)
    said = world.reports["broker default/b"]
    assert (said.ready, said.message) == (False, 'Secret "default/login" not found')
    assert (world.service.known("default/b"), world.service.log("default/b"), world.kinds) == (True, None, [])
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))


async def test_a_broker_that_is_open_goes_on_while_its_configuration_is_missing(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    log = world.service.log("default/b")
    world.change(broker(waits_for="x"), trigger())
    world.change(broker(waits_for="x"), trigger() | trigger("u"))
    await world.until(lambda: world.ready("trigger default/u"))
    assert world.service.log("default/b") is log
    world.change({}, {})
    await world.until(lambda: world.store.deleted == ["default/b"])


async def test_what_is_deleted_is_where_its_configuration_says_that_it_is(world: World):
    world.store.away.add("default/b")
    world.change(broker(config={"bootstrap.servers": "theirs:9092"}, secret={"user": "me"}), {})
    await world.until(lambda: "broker default/b" in world.reports)
    world.store.away.clear()
    world.change({}, {})
    await world.until(lambda: world.store.deleted == ["default/b"])
    assert world.store.deleted_with.config == {"bootstrap.servers": "theirs:9092", "user": "me"}


async def test_a_broker_that_only_waited_has_nothing_to_delete(world: World):
    world.change(broker(waits_for="x"), {})
    await world.until(lambda: "broker default/b" in world.reports)
    world.change({}, {})
    await world.until(lambda: not world.service._leaving)
    assert (world.store.deleted, world.kinds) == ([], [])


async def test_a_trigger_with_a_mistake_holds_up_no_other(world: World):
    bad = trigger("bad", filters=({"nosuch": {"type": "x"}},))
    world.change(broker(), bad | trigger("good"))
    await world.until(lambda: world.ready("trigger default/good"))
    assert world.reports["trigger default/bad"].reason == "InvalidTrigger"


async def test_a_subscriber_that_cannot_be_called_is_told_of_its_trigger_alone(world: World):
    world.change(broker(), trigger("bad", subscriber=Target(url="nowhere")) | trigger("good"))
    await world.until(lambda: world.ready("trigger default/good"))
    assert world.reports["trigger default/bad"].reason == "InvalidTrigger"
    assert "absolute" in world.reports["trigger default/bad"].message


async def test_a_trigger_is_tried_again_until_its_subscription_stands(world: World):
    world.change(broker(), {})
    await world.until(lambda: world.ready("broker default/b"))
    world.store.logs["default/b"].refuse = True
    world.change(broker(), trigger())
    await world.until(lambda: "trigger default/t" in world.reports)
    assert world.reports["trigger default/t"].reason == "NotSubscribed"
    world.store.logs["default/b"].refuse = False
    await world.until(lambda: world.ready("trigger default/t"))


async def test_a_deleted_trigger_is_drained_closed_and_forgotten(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    world.change(broker(), {})
    log = world.store.logs["default/b"]
    await world.until(lambda: log.forgotten == ["uid-t"])
    assert world.runners[0].calls == ["drain", "close"]
    assert log.subscriptions[0].closed


async def test_every_deleted_trigger_is_forgotten(world: World):
    world.change(broker(), trigger("a") | trigger("b") | trigger("c"))
    await world.until(lambda: world.ready("trigger default/c"))
    world.change(broker(), {})
    log = world.store.logs["default/b"]
    await world.until(lambda: len(log.forgotten) == 3)
    assert sorted(log.forgotten) == ["uid-a", "uid-b", "uid-c"]


async def test_a_change_of_one_trigger_costs_nothing_for_the_others(world: World, monkeypatch: pytest.MonkeyPatch):
    many = {key: one for n in range(20) for key, one in trigger(f"t{n}").items()}
    world.change(broker(), many)
    await world.until(lambda: world.ready("trigger default/t19"))
    compiled: list[object] = []
    monkeypatch.setattr(keep, "compile_filters", lambda f: compiled.append(f) or compile_filters(f))
    world.change(broker(), many | trigger("t7", filters=({"exact": {"type": "x"}},)))
    await world.until(lambda: len(world.store.logs["default/b"].subscriptions) == 21)
    assert compiled == [({"exact": {"type": "x"}},)]


async def test_a_trigger_made_anew_under_its_name_does_not_take_over_the_old_progress(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    world.change(broker(), trigger(uid="uid-2"))
    log = world.store.logs["default/b"]
    await world.until(lambda: len(log.subscriptions) == 2)
    assert log.forgotten == ["uid-t"]


async def test_another_subscriber_is_taken_over_without_a_new_subscription(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    world.change(broker(), trigger(subscriber=Target(url="http://127.0.0.1:2/")))
    await world.until(lambda: world.runners[0].calls == ["update"])
    assert len(world.store.logs["default/b"].subscriptions) == 1


async def test_another_filter_needs_a_new_subscription_and_keeps_the_progress(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    world.change(broker(), trigger(filters=({"exact": {"type": "x"}},)))
    log = world.store.logs["default/b"]
    await world.until(lambda: len(log.subscriptions) == 2)
    assert log.subscriptions[0].closed
    assert log.forgotten == []


async def test_a_deleted_broker_takes_its_events_with_it(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    world.change({}, {})
    await world.until(lambda: world.store.deleted == ["default/b"])
    assert world.service.log("default/b") is None


async def test_a_broker_that_is_deleted_while_its_triggers_are_being_forgotten_takes_its_events_with_it(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    log = world.store.logs["default/b"]
    log.forgets.clear()
    world.change(broker(), {})
    await world.until(lambda: log.subscriptions[0].closed)
    world.change({}, {})
    log.forgets.set()
    await world.until(lambda: world.service._leaving == {})
    assert world.store.deleted == ["default/b"]


async def test_a_broker_made_anew_under_its_name_starts_when_the_old_ones_events_are_gone(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    old = world.store.logs["default/b"]
    world.reports.clear()
    world.store.away = {"default/b"}
    world.change({}, {})
    world.change(broker(uid="uid-2"), trigger())
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.reports == {}
    world.store.away = set()
    await world.until(lambda: world.ready("trigger default/t"))
    assert world.store.deleted == ["default/b"]
    assert world.reports["broker default/b"].uid == "uid-2"
    assert world.store.logs["default/b"] is not old
    assert world.service.log("default/b") is world.store.logs["default/b"]
    assert world.service._leaving == {}


async def test_a_change_that_only_shows_the_new_broker_ends_the_old_one_too(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    world.reports.clear()
    world.change(broker(uid="uid-2"), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    assert world.store.deleted == ["default/b"]
    assert world.runners[0].calls == ["drain", "close"]


async def test_what_is_missing_in_a_whole_snapshot_is_not_deleted(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    log = world.store.logs["default/b"]
    empty = Snapshot(generation=9)
    world.service.apply(empty, replace(difference(world.snapshot, empty), compared=True))
    await world.until(lambda: log.subscriptions[0].closed)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (world.store.deleted, log.forgotten) == ([], [])


async def test_an_empty_snapshot_from_a_control_plane_that_lost_its_memory_deletes_nothing(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    empty = Snapshot(generation=1)
    world.service.apply(empty, full(empty))
    await world.until(lambda: world.store.logs["default/b"].subscriptions[0].closed)
    await asyncio.sleep(0)
    assert world.store.deleted == []
    assert world.store.logs["default/b"].forgotten == []


async def test_a_change_of_routes_only_costs_nothing(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    before = len(world.store.logs["default/b"].subscriptions)
    world.change(broker(), trigger())
    await asyncio.sleep(0)
    assert len(world.store.logs["default/b"].subscriptions) == before


async def test_draining_closes_subscriptions_then_stores(world: World):
    world.change(broker(), trigger())
    await world.until(lambda: world.ready("trigger default/t"))
    await world.service.drain()
    assert world.store.logs["default/b"].subscriptions[0].closed
    assert world.store.closed


async def test_a_broker_deleted_before_it_was_ever_opened_here_goes_with_what_an_earlier_process_kept(world: World):
    world.store.away = {"default/b"}
    world.change(broker(), {})
    await world.until(lambda: "broker default/b" in world.reports)
    world.change({}, {})
    world.store.away = set()
    await world.until(lambda: world.store.deleted == ["default/b"])
