"""The control plane but for its API and its pods: configuration, publisher, scale desk and reconcilers, wired.

Path: launch → [control] → configmaps, publish.py, scaledesk.py, brokerdesk.py, reconcile/loop.py.

Source: architecture.md "The parts".
"""

import asyncio
import random
from collections.abc import Callable

import msgspec

from controlplane.activators import Activators
from controlplane.brokerdesk import BrokerDesk
from controlplane.compile_eventing import Doors
from controlplane.occupancy import Occupancy
from controlplane.publish import Publisher
from controlplane.reconcile.configmaps import LiveConfig
from controlplane.reconcile.loop import ControlLoop
from controlplane.reconcile.naming import suffixes
from controlplane.reconcile.view import Facts, View
from controlplane.scaledesk import ScaleDesk
from controlplane.store.contract import Change, Store
from dataplane.clock import Clock
from dataplane.telemetry.metrics import Registry


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where Services and Brokers are found.

    url_port: of the gateway's external listener, shown in URLs when it is not 80. broker_url: of the brokers' ingress
    as it can be reached from this machine (`http://127.0.0.1:8082`), without a path; "" = no broker process runs here.
    cluster_local: `HOST:PORT` of the gateway's listener for cluster-local names.
    """

    domain: str = "localhost"
    url_port: int = 80
    broker_url: str = ""
    cluster_local: str = ""


class Control:
    """Give `publisher.endpoints` to the kubelet, `publisher.subscribe` and `desk` to hops of this process, and what
    broker processes report to `brokers`."""

    def __init__(
        self,
        *,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        registry: Registry,
        place: Place,
        in_flight: Callable[[str], int | None],
    ) -> None:
        """`in_flight`: requests on a pod (uid) through this process; None when it has none there."""
        source = random.SystemRandom()
        self._store = store
        self.config = LiveConfig(store=store, domain=place.domain)
        self._unwatch = store.watch(self._configured)
        self.desk = ScaleDesk(store=store, clock=clock, changed=lambda revision: self.loop.scaled(revision))
        self.brokers = BrokerDesk(store=store, changed=lambda kind, key: self.loop.reported(kind, key))
        self.publisher = Publisher(
            store=store,
            config=self.config,
            loop=loop,
            generation=max(int(clock.wall() * 1000), store.revision),
            settled=lambda route: self.loop.settled(route),
            registry=registry,
            doors=Doors(place.cluster_local, place.broker_url.rstrip("/")),
        )
        self.activators = Activators(loop=loop, changed=self.publisher.activators)
        self.occupancy = Occupancy(local=in_flight, publisher=self.publisher, clock=loop.time)
        facts = Facts(
            config=self.config,
            programmed=self.publisher.programmed,
            decision=self.desk.decision,
            in_flight=self.occupancy.running,
            suffix=suffixes(source),
            url_port=place.url_port,
            broker_url=place.broker_url.rstrip("/"),
            reported=self.brokers.reported,
        )
        self.view = View(store, facts)
        self.loop = ControlLoop(store=store, view=self.view, loop=loop, clock=clock, source=source, registry=registry)

    def open(self) -> None:
        """Publish what is stored, then reconcile it. Hops may subscribe before or after."""
        self.publisher.open()
        self.loop.open()

    async def close(self) -> None:
        self._unwatch()
        await self.loop.close()
        self.activators.close()
        self.publisher.close()
        self.desk.close()
        self.brokers.close()

    def _configured(self, change: Change) -> None:
        if self.config.concerns(change) and self.config.read():
            self.publisher.reconfigured()
            self.loop.resync()
