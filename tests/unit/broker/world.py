"""A trigger in virtual time: a store and a subscriber that do what the test says and fail on misuse."""

import asyncio
import heapq
import itertools
from types import SimpleNamespace

from broker.dispatcher import TriggerConsumer
from broker.journal import Journal
from broker.meters import DeliveryMeters
from broker.settings import BrokerSettings
from broker.store.contract import Delivery, Lag, Record, Start
from dataplane.net.timers import Timers
from dataplane.policy.filters import compile_filters
from dataplane.resources.triggers import DeliveryPolicy, Target, Trigger
from dataplane.telemetry.metrics import Registry
from dataplane.testing.clock import VirtualTimeLoop
from dataplane.wire.cloudevents import Event

SUB, SINK = "http://sub.example/", "http://sink.example/"


def event(id="1", data=b"{}", **attributes):
    base = {"specversion": "1.0", "id": str(id), "source": "/s", "type": "t", "datacontenttype": "application/json"}
    return Event({**base, **attributes}, data)


def trigger(*, sink=False, retry=0, delay_s=1.0, backoff="linear", timeout_s=30.0, policy=None, **more):
    return Trigger(
        namespace="ns",
        name=more.pop("name", "tr"),
        broker="br",
        uid=more.pop("uid", "uid-1"),
        subscriber=Target(url=more.pop("url", SUB)),
        dead_letter=Target(url=SINK) if sink else None,
        delivery=DeliveryPolicy(retry=retry, delay_s=delay_s, backoff=backoff, timeout_s=timeout_s, **(policy or {})),
        **more,
    )


class Store:
    """A Subscription: hands over in log order within `room`, redeliveries first, and knows what the consumer has."""

    def __init__(self, consumer, loop, clock):
        self.consumer, self.loop, self.clock = consumer, loop, clock
        self.waiting = []  # heap of (rank, serial, Delivery): redeliveries that are due before fresh ones
        self.out = {}  # position → Delivery
        self.scheduled = {}  # position → (due_at, attempt, kept)
        self.settled, self.parked, self.replies, self.laters, self.handed = [], [], [], [], []
        self.let, self.stale = [], set()
        self.fault = None
        self.sure = True  # what is out is for sure not another process's
        self.closed = self.asked = False
        self._serial = itertools.count(1)

    def offer(self, *records, attempt=1, due_at=0.0):
        for record in records:
            if isinstance(record, Event):
                record = Record(event=record, arrived_at=self.clock.wall())
            serial = next(self._serial)
            heapq.heappush(self.waiting, (1, serial, Delivery(record, str(serial), attempt, due_at)))
        self.more()

    def more(self):
        if not self.asked and not self.closed:
            self.asked = True
            self.loop.call_soon(self._feed)

    def _feed(self):
        self.asked = False
        room = self.consumer.room()
        assert room >= 0
        batch = []
        while self.waiting and len(batch) < room and not self.closed and self.sure:
            delivery = heapq.heappop(self.waiting)[2]
            assert delivery.position not in self.out
            self.out[delivery.position] = delivery
            batch.append(delivery)
        self.handed += batch
        if batch:
            self.consumer.deliver(batch)

    def _end(self, delivery):
        assert not self.closed, "after close"
        if delivery in self.stale:
            self.stale.remove(delivery)
            return
        assert self.out.pop(delivery.position, None) is delivery, (
            f"not handed over, or ended already: {delivery.position}"
        )
        self.scheduled.pop(delivery.position, None)

    def settle(self, delivery):
        if delivery not in self.stale:
            self.settled.append(delivery)
        self._end(delivery)

    def settle_with(self, delivery, reply, done):
        assert self.out.get(delivery.position) is delivery

        def commit():
            if self.fault is None:
                self._end(delivery)
                self.settled.append(delivery)
                self.replies.append(reply)
            done(self.fault)

        self.loop.call_soon(commit)

    def holds(self, delivery):
        return self.sure and delivery not in self.stale

    def let_go(self, delivery):
        _, delivery.attempt, _ = self.scheduled.get(delivery.position, (0, delivery.attempt, False))
        if delivery not in self.stale:
            self.let.append(delivery)
        self._end(delivery)

    def lose(self):
        """From now on another process may have what is out."""
        self.sure = False

    def regain(self, taken=None):
        """taken: positions that another process had meanwhile, and has settled; None: nobody had anything. What was let
        go is handed over again."""
        again, self.let = {d.position: d for d in self.let}, []
        if taken is not None:
            self.stale.update(self.out.values())
            again.update(self.out)
            self.out = {}
            self.waiting = [entry for entry in self.waiting if entry[2].position not in taken]
            heapq.heapify(self.waiting)
        for position, delivery in again.items():
            if position not in (taken or ()):
                copy = Delivery(delivery.record, position, delivery.attempt)
                heapq.heappush(self.waiting, (1, int(position), copy))
        self.sure = True
        if taken is not None:
            self.consumer.revoked()
        self.more()

    def later(self, delivery, *, due_at, attempt, keep=False):
        if delivery in self.stale:
            return
        self._end(delivery)
        self.laters.append((delivery.position, attempt, round(due_at - self.clock.wall(), 3), keep))
        self.scheduled[delivery.position] = (due_at, attempt, keep)
        if keep:
            assert self.consumer.ordered
            self.out[delivery.position] = delivery
            return
        again = Delivery(delivery.record, delivery.position, attempt)

        def due():
            self.scheduled.pop(delivery.position, None)
            heapq.heappush(self.waiting, (0, next(self._serial), again))
            self.more()

        self.loop.call_later(max(0.0, due_at - self.clock.wall()), due)

    def park(self, delivery, failure, kept="parked"):
        if delivery not in self.stale:
            self.parked.append((delivery, failure, kept))
        self._end(delivery)

    def lag(self):
        arrivals = [d.record.arrived_at for d in self.out.values()]
        return Lag(
            waiting=len(self.waiting),
            in_flight=len(self.out),
            scheduled=len(self.scheduled),
            parked=len(self.parked),
            oldest_at=min(arrivals, default=0.0),
        )

    def newest_first(self):
        """A log in order, as an ordered trigger has it."""

    async def close(self):
        self.closed = True


class Asked:
    """A request as the subscriber got it."""

    def __init__(self, url, data, at):
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.url, self.at = url, at
        self.line, *lines = head.decode().split("\r\n")
        pairs = [line.partition(": ")[::2] for line in lines]
        self.headers = dict(pairs)
        assert len(self.headers) == len(pairs), f"a header twice: {pairs}"
        self.id = self.headers.get("ce-id")
        self.attempt = int(self.headers["x-dp-attempt"])


class Line:
    """net/call.py's Line. The script: `(asked) -> (delay_s, status, fields, body)`, or an error for the status."""

    def __init__(self, world, url, timeout_s, answer_bytes_max):
        self.world, self.url, self.timeout_s, self.answer_bytes_max = world, url, timeout_s, answer_bytes_max
        self.open = {}
        self.closed = False

    def __len__(self):
        return len(self.open)

    def send(self, call, data):
        assert not self.closed, "sent on a closed line"
        assert call not in self.open
        asked = Asked(self.url, data, self.world.loop.time())
        self.world.asked.append(asked)
        said = self.world.script(asked)
        delay_s, status, fields, body = (*said, [], b"")[:4] if len(said) < 4 else said
        self.open[call] = self.world.loop.call_later(delay_s, self._answer, call, status, fields, body)
        self.world.open_max = max(self.world.open_max, sum(len(line.open) for line in self.world.lines))

    def _answer(self, call, status, fields, body):
        del self.open[call]
        if isinstance(status, Exception):
            call.error = status
        else:
            call.status, call.fields = status, fields
            call.body, call.too_large = body[: self.answer_bytes_max], len(body) > self.answer_bytes_max
        call.on_answer()

    def cancel(self, call):
        handle = self.open.pop(call, None)
        if handle is not None:
            handle.cancel()

    def close(self):
        for call in list(self.open):
            self.cancel(call)
        self.closed = True


class World:
    """Everything around one TriggerConsumer. Made within a virtual loop."""

    def __init__(self, what=None, *, script=lambda asked: (0.01, 204), settings=None):
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.clock()
        self.script = script
        self.asked, self.lines = [], []
        self.open_max = 0
        self.journal = Journal(facts_max=100_000)
        self.registry = Registry()
        self.meters = DeliveryMeters(self.registry, self.clock.wall)
        self.settings = settings or BrokerSettings()
        self.engine = SimpleNamespace(
            loop=self.loop, clock=self.loop.time, timers=Timers(self.loop), random=lambda: 0.5, registry=self.registry
        )
        self.consumer = self.start(what or trigger())

    def start(self, what):
        import broker.deliver

        before = broker.deliver.open_line
        broker.deliver.open_line = self.open_line
        try:
            self.consumer = TriggerConsumer(
                self.engine, what, compile_filters(what.filters), self.settings, "ns/br", self.journal, self.clock, self.meters
            )  # fmt: skip
        finally:
            broker.deliver.open_line = before
        self.store = Store(self.consumer, self.loop, self.clock)
        self.consumer.attach(self.store)
        return self.consumer

    async def read(self, log):
        """From now on its events come from this log, and not from a test."""
        await self.store.close()
        self.consumer.attach(await log.subscribe(self.consumer, Start("earliest")))

    def update(self, what):
        import broker.deliver

        before = broker.deliver.open_line
        broker.deliver.open_line = self.open_line
        try:
            self.consumer.update(what, compile_filters(what.filters))
        finally:
            broker.deliver.open_line = before

    def open_line(self, engine, destination, *, timeout_s, answer_bytes_max, **_):
        line = Line(self, destination.url, timeout_s, answer_bytes_max)
        self.lines.append(line)
        return line

    def facts(self, what):
        return [fact for fact in self.journal.recent("ns/br", 100_000) if fact.what == what]

    def metric(self, name, **labels):
        found = 0.0
        for line in self.registry.render().splitlines():
            if line.startswith((name + " ", name + "{")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                found += float(line.rsplit(" ", 1)[1])
        return found

    def ids(self, deliveries=None):
        return [d.record.event.id for d in (self.store.settled if deliveries is None else deliveries)]


def run(main):
    """`main()` in virtual time; an error in any callback, of a double that was misused above all, fails the test."""
    mistakes = []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: mistakes.append(context))
        runner.run(main())
    assert not mistakes, mistakes[0]
