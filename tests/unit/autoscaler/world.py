"""A small world around the autoscaler in virtual time: pods that start, reporters that report, a record of wants."""

import asyncio
from collections.abc import Callable

import msgspec

from autoscaler.decide import Autoscaler
from dataplane.resources.scaling import Autoscaling, Decision
from dataplane.resources.snapshot import Change, Endpoint, Revision, Snapshot
from dataplane.telemetry.metrics import Registry
from dataplane.testing.clock import VirtualTimeLoop
from dataplane.wire.stats import Stat

KEY = "default/hello-00001"
READY = Autoscaling(initialized=True)


def run(main):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


class World:
    """One revision. `obey`: pods follow what is wanted, `start_s` later. `trace`: (time, want) whenever it changes."""

    def __init__(self, spec: Autoscaling = READY, *, pods: int = 0, local: bool = True, obey: bool = True, **options):
        self.loop = asyncio.get_running_loop()
        self.started = self.loop.time()
        self.spec = spec
        self.pods = pods
        self.want = pods
        self.obey = obey
        self.start_s = options.get("start_s", 1.0)
        self.decisions: list[Decision] = []
        self.trace: list[tuple[float, int]] = []
        self.registry = Registry()
        self.failures = 0  # how many more calls of actuate fail
        self.generation = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.clock = options.get("clock", self.loop.clock())
        self.autoscaler = self.begin(local=local)

    def begin(self, *, local: bool = True, apply: bool = True) -> Autoscaler:
        self.autoscaler = Autoscaler(
            loop=self.loop, clock=self.clock, registry=self.registry, actuate=self.actuate, local=local
        )
        self.snapshot = Snapshot()
        if apply:
            self.publish(whole=True)
        return self.autoscaler

    @property
    def now(self) -> float:
        return self.loop.time() - self.started

    def revision(self) -> Revision:
        endpoints = tuple(Endpoint(id=f"pod-{n}", address=f"127.0.0.1:{9000 + n}") for n in range(self.pods))
        return Revision(
            namespace="default",
            name="hello-00001",
            service="hello",
            configuration="hello",
            endpoints=endpoints,
            autoscaling=self.spec,
        )

    def publish(self, *, whole: bool = False) -> None:
        self.generation += 1
        revisions = {KEY: self.revision()}
        before = self.snapshot.generation
        self.snapshot = Snapshot(generation=self.generation, revisions=revisions)
        base = -1 if whole else before
        self.autoscaler.apply(self.snapshot, Change(generation=self.generation, base=base, revisions=dict(revisions)))

    def change(self, **fields) -> None:
        self.spec = msgspec.structs.replace(self.spec, **fields)
        self.publish()

    def scale(self, pods: int) -> None:
        self.pods = pods
        if pods and not self.spec.initialized:
            self.spec = msgspec.structs.replace(self.spec, initialized=True)
        self.publish()

    def actuate(self, decisions: tuple[Decision, ...]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("control plane away")
        self.decisions.extend(decisions)
        want = decisions[-1].want
        if want >= 0 and want != self.want:
            self.want = want
            self.trace.append((self.now, want))
            if self.obey:
                self.loop.call_later(self.start_s if want > self.pods else 0.0, self.follow, want)

    def follow(self, want: int) -> None:
        if want == self.want and want != self.pods:
            self.scale(want)

    def say(self, concurrency: float, *, reporter: str = "gateway", poke: bool = False, **fields) -> Stat:
        return Stat(KEY, reporter, concurrency, fields.pop("requests", concurrency), poke=poke, **fields)

    def record(self, concurrency: float, **fields) -> None:
        self.autoscaler.record([self.say(concurrency, **fields)])

    async def report(self, load: Callable[[float], float], seconds: float, **fields) -> None:
        """As the gateway does: once a second while there is load, one zero when it ends."""
        said, until = 0.0, self.now + seconds
        while self.now < until - 1e-6:
            value = load(self.now)
            if value or said:
                self.record(value, **fields)
            said = value
            await asyncio.sleep(1.0)

    @property
    def last(self) -> Decision:
        return self.decisions[-1]

    @property
    def why(self):
        return self.autoscaler.explain(KEY)
