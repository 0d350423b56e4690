"""The brokers and triggers of the newest snapshot, kept running: logs opened, triggers subscribed, changes followed.

Path: snapshot → [service] → keep.py, one per broker; ingress.py asks for logs by name, inspect.py for triggers.

Data goes only when the snapshot says that a broker or trigger is gone, never because a snapshot is empty or new: a
process that lost its control plane must not lose events.

Source: spec/eventing.md §12; architecture.md "The four contracts" 1, 3.
"""

import asyncio
from collections.abc import Callable, Mapping

from broker.keep import BrokerKeeper, House, MakeRunner, Running
from broker.settings import BrokerSettings
from broker.store.contract import EventLog, EventStore
from dataplane.clock import Clock
from dataplane.net.tasks import Tasks
from dataplane.resources.snapshot import Change, Snapshot
from dataplane.resources.triggers import Reported, Trigger
from dataplane.telemetry.metrics import Registry

MakeStore = Callable[[str], EventStore]


class BrokerService:
    """`apply` follows a snapshot; `log` and `trigger` answer for ingress and inspection."""

    def __init__(
        self,
        *,
        settings: BrokerSettings,
        make_store: MakeStore,
        make_runner: MakeRunner,
        clock: Clock,
        registry: Registry,
        report: Callable[[Reported], None] = lambda _: None,
        dispatch: bool = True,
    ) -> None:
        """make_store: by kind; called once per kind that a broker asks for. clock: monotonic is the loop's. dispatch:
        False = this process only accepts events."""
        self._settings = settings
        self._make_store = make_store
        self._clock = clock
        self._house = House(settings, self._store, make_runner, report, clock, dispatch)
        self._tasks = Tasks("broker")
        self._stores: dict[str, EventStore] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._brokers: dict[str, BrokerKeeper] = {}
        self._leaving: dict[str, BrokerKeeper] = {}  # not wanted any more, not at its end yet
        self._closing = False
        gauge = registry.gauge("dataplane_broker_count", "Brokers by whether they accept events.", ("state",))
        self._counts = {state: gauge.cell(state) for state in ("ready", "not_ready")}
        registry.before_render(self._count)

    # ---- control plane → us ------------------------------------------------------------------

    def apply(self, snapshot: Snapshot, change: Change | None = None) -> None:
        """From now on these brokers and triggers are wanted. Returns at once."""
        if self._closing:
            return
        known = change is not None and change.base != -1
        if known and change is not None and not change.brokers and not change.triggers:
            return
        explicit = known and change is not None and not change.compared
        by_broker: dict[str, dict[str, Trigger]] = {}
        for key, trigger in snapshot.triggers.items():
            by_broker.setdefault(f"{trigger.namespace}/{trigger.broker}", {})[key] = trigger
        for key, broker in snapshot.brokers.items():
            run = self._brokers.get(key)
            if run is not None and run.uid not in ("", broker.uid):  # made anew under its name
                self._leave(key, delete=explicit)
                run = None
            if run is None:
                run = self._brokers[key] = self._keeper(key)
                self._tasks.spawn(run.work(), key)
            run.want(broker, by_broker.get(key, {}), gone=change.triggers if explicit and change is not None else {})
        for key in self._brokers.keys() - snapshot.brokers.keys():
            self._leave(key, delete=explicit)

    def _keeper(self, key: str) -> BrokerKeeper:
        def ended(keeper: BrokerKeeper) -> None:
            if self._leaving.get(key) is keeper:
                del self._leaving[key]

        return BrokerKeeper(self._house, key, after=self._leaving.get(key), ended=ended)

    def _leave(self, key: str, *, delete: bool) -> None:
        run = self._leaving[key] = self._brokers.pop(key)
        run.leave(delete=delete)

    # ---- who asks ------------------------------------------------------------------------------

    def log(self, broker: str) -> EventLog | None:
        """The log of an open broker `namespace/name`; None: no such broker, or not open yet (see `known`)."""
        run = self._brokers.get(broker)
        return run.log if run is not None else None

    def known(self, broker: str) -> bool:
        return broker in self._brokers

    def keys(self) -> list[str]:
        """Of every wanted broker, `namespace/name`."""
        return list(self._brokers)

    def trigger(self, key: str) -> Running | None:
        """A running trigger by `namespace/name`."""
        for run in self._brokers.values():
            if key in run.running:
                return run.running[key]
        return None

    def triggers(self, broker: str) -> Mapping[str, Running]:
        run = self._brokers.get(broker)
        return run.running if run is not None else {}

    def wanted(self, broker: str) -> Mapping[str, Trigger]:
        """What the snapshot says of its triggers, whether they run here or not."""
        run = self._brokers.get(broker)
        return run.wanted_triggers if run is not None else {}

    async def settled(self, within_s: float) -> None:
        """Returns when every broker and trigger was tried once, or after `within_s`."""
        deadline = self._clock.monotonic() + within_s
        for run in list(self._brokers.values()):
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                    await run.tried.wait()
            except TimeoutError:
                return

    def not_ready(self) -> str:
        """For /readyz: stores that cannot take events now."""
        faults = [f"{kind}: {why}" for kind, store in self._stores.items() if (why := store.not_ready())]
        return "; ".join(faults)

    # ---- life ------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Finish what is in flight, make it durable, close the stores. Bounded by drain_timeout_s."""
        self._closing = True
        deadline = self._clock.monotonic() + self._settings.drain_timeout_s
        runs = (*self._brokers.values(), *self._leaving.values())
        await asyncio.gather(*(run.close(deadline) for run in runs), return_exceptions=True)
        await self._tasks.close()
        for store in self._stores.values():
            await store.close()

    async def _store(self, kind: str) -> EventStore:
        store = self._stores.get(kind)
        if store is not None:
            return store
        async with self._starting.setdefault(kind, asyncio.Lock()):
            store = self._stores.get(kind)
            if store is None:
                store = self._make_store(kind)
                await store.start()
                self._stores[kind] = store
            return store

    def _count(self) -> None:
        ready = sum(run.log is not None for run in self._brokers.values())
        self._counts["ready"].v, self._counts["not_ready"].v = ready, len(self._brokers) - ready
