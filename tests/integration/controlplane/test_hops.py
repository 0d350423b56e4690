"""Hops in other processes over real sockets: follow, acknowledge, scale, ask why."""

import asyncio
import contextlib
import io

import aiohttp
import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from controlplane.api.guard import answers
from controlplane.control import Control, Place
from controlplane.explain import ServiceWhy
from controlplane.hops import HopsApi
from controlplane.reconcile.outcome import born, key_for, key_of
from controlplane.store.contract import Delete, Put
from controlplane.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.net.tasks import Tasks
from dataplane.resources import core
from dataplane.resources.eventing import Broker, Destination, Trigger, TriggerSpec
from dataplane.resources.meta import Condition, ObjectMeta, condition
from dataplane.resources.scaling import Decision
from dataplane.resources.serving import Revision, RevisionSpec, RevisionTemplate, Route, Service, ServiceSpec
from dataplane.resources.snapshot import Change, Endpoint, Snapshot, changed
from dataplane.resources.triggers import Reported
from dataplane.runtime.watch import RUNNING_MAX, Follower
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry


class Plane:
    """Control plane without API: store, reconcilers, publisher, hops' routes, and a kubelet that says yes."""

    def __init__(self, url, control, store):
        self.url, self.control, self.store = url, control, store

    async def deploy(self, name="hello"):
        spec = RevisionSpec(containers=(core.Container(name="c", image="demo://hello"),), timeout_seconds=300)
        traffic = msgspec.convert([{"latestRevision": True, "percent": 100}], ServiceSpec.__annotations__["traffic"])
        service = Service(
            metadata=ObjectMeta(name=name, namespace="default"),
            spec=ServiceSpec(template=RevisionTemplate(spec=spec), traffic=traffic),
        )
        await self.store.commit([Put(key_of(service), born(service, f"uid-{name}", 0.0), None)])

    def get(self, struct, name):
        return self.store.get(key_for(struct, "default", name))

    def is_ready(self, struct, name):
        found = self.get(struct, name)
        ready = condition(found.status.conditions, "Ready") if found else None
        return ready is not None and ready.status == "True"

    async def until(self, true):
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.005)

    def kubelet(self, change):
        pod = change.object
        if change.type == "ADDED" and isinstance(pod, core.Pod):
            asyncio.get_running_loop().call_soon(self._tasks.spawn, self._start(pod), "start")
        elif isinstance(pod, core.Pod) and change.type == "MODIFIED" and pod.metadata.deletion_timestamp:
            asyncio.get_running_loop().call_soon(self._tasks.spawn, self._stop(pod), "stop")

    _tasks = None

    async def _start(self, pod):
        revision = f"default/{pod.metadata.labels['serving.knative.dev/revision']}"
        self.control.publisher.endpoints(revision, (Endpoint(id=pod.metadata.uid, address="127.0.0.1:1"),))
        found = self.get(core.Pod, pod.metadata.name)
        status = core.PodStatus(phase="Running", conditions=(Condition(type="Ready", status="True"),))
        await self.store.commit([Put(key_of(pod), replace(found, status=status), None)])

    async def _stop(self, pod):
        await self.store.commit([Delete(key_of(pod))])


@pytest.fixture
async def plane():
    store = MemoryStore()
    loop = asyncio.get_running_loop()
    control = Control(
        store=store,
        loop=loop,
        clock=SYSTEM,
        registry=Registry(),
        place=Place(url_port=8080, broker_url="http://127.0.0.1:8082"),
        in_flight=lambda _: 0,
    )
    hops = HopsApi(
        publisher=control.publisher,
        desk=control.desk,
        brokers=control.brokers,
        occupancy=control.occupancy,
        activators=control.activators,
        view=control.view,
        account=lambda _: None,
    )
    app = web.Application(middlewares=[answers])
    app.add_routes(hops.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    found = Plane(f"http://127.0.0.1:{port}", control, store)
    found._tasks = Tasks("kubelet")
    store.watch(found.kubelet)
    control.open()
    yield found
    await found._tasks.close()
    await hops.close()
    await control.close()
    await runner.cleanup()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as one:
        yield one


@contextlib.asynccontextmanager
async def following(plane, on_change):
    tasks = Tasks("test")
    follower = Follower(
        url=plane.url, token=Redacted("t"), on_change=on_change, tasks=tasks, registry=Registry(), cache=None
    )
    follower.start()
    try:
        yield follower
    finally:
        await tasks.close()


async def test_a_follower_has_what_ready_promises(plane):
    seen = []
    async with following(plane, lambda snapshot, change: seen.append(snapshot)) as follower:
        await follower.first()
        await plane.until(lambda: plane.control.publisher._followers[0].counted)
        await plane.deploy()
        await plane.until(lambda: plane.is_ready(Service, "hello"))
        assert "default/hello" in seen[-1].routes
        assert seen[-1].revisions["default/hello-00001"].endpoints
        for percent_tag in range(20):
            route = plane.get(Service, "hello")
            tagged = replace(route.spec.traffic[0], tag=f"t{percent_tag}")
            generation = route.metadata.generation + 1
            changed_service = replace(
                route,
                spec=replace(route.spec, traffic=(tagged,)),
                metadata=replace(route.metadata, generation=generation),
            )
            await plane.store.commit([Put(key_of(route), changed_service, None)])

            def is_there(generation=generation):
                status = plane.get(Service, "hello").status
                return status.observed_generation == generation and plane.is_ready(Service, "hello")

            await plane.until(is_there)
            hosts = [host for rule in seen[-1].routes["default/hello"].rules for host in rule.hosts]
            assert f"t{percent_tag}-hello.default.localhost" in hosts
    await plane.until(lambda: not plane.control.publisher._followers)


async def test_what_a_broker_process_says_holds_as_long_as_its_connection(plane):
    trigger = Trigger(
        metadata=ObjectMeta(name="t", namespace="default"),
        spec=TriggerSpec(broker="default", subscriber=Destination(uri="http://127.0.0.1:9/")),
    )
    annotations = {"eventing.knative.dev/broker.class": "Memory"}
    broker = Broker(metadata=ObjectMeta(name="default", namespace="default", annotations=annotations))
    for n, one in enumerate((broker, trigger)):
        await plane.store.commit([Put(key_of(one), born(one, f"uid-{n}", 0.0), None)])
    stands = [
        Reported(kind="broker", key="default/default", uid="uid-0", ready=True),
        Reported(kind="trigger", key="default/t", uid="uid-1", ready=True, start="latest"),
    ]
    tasks, held = Tasks("test"), []
    follower = Follower(
        url=plane.url, token=Redacted("t"), on_change=lambda s, c: held.append(s), tasks=tasks, registry=Registry()
    )
    for said in stands:
        follower.say(said)
    follower.start()
    await plane.until(lambda: plane.is_ready(Broker, "default") and plane.is_ready(Trigger, "t"))
    follower.say(replace(stands[1], ready=False, reason="NotSubscribed", message="x" * 100_000))
    await plane.until(lambda: not plane.is_ready(Trigger, "t"))
    follower.say(stands[1])
    await plane.until(lambda: plane.is_ready(Trigger, "t"))

    follower._tasks, first = Tasks("after"), follower._tasks
    await first.close()  # the connection ends
    await plane.until(lambda: not plane.is_ready(Trigger, "t") and not plane.is_ready(Broker, "default"))
    follower.start()  # and comes back: it is all said again
    await plane.until(lambda: plane.is_ready(Broker, "default") and plane.is_ready(Trigger, "t"))
    await plane.store.commit([Delete(key_of(trigger))])
    await plane.until(lambda: held[-1].triggers == {})
    assert list(follower._said) == [("broker", "default/default")]
    await follower._tasks.close()
    await tasks.close()


async def test_a_follower_that_never_answers_holds_ready_only_for_a_while(plane, session):
    async with session.ws_connect(f"{plane.url}/dataplane/v1/snapshot") as socket:
        first = msgspec.json.decode(await socket.receive_str(), type=Change)
        await socket.send_str(msgspec.json.encode({"applied": first.generation}).decode())
        await plane.until(lambda: plane.control.publisher._followers[0].counted)
        await plane.deploy()
        await plane.until(lambda: plane.get(Route, "hello") and plane.get(Route, "hello").status.traffic)
        assert not plane.is_ready(Route, "hello")
        await plane.until(lambda: plane.is_ready(Service, "hello"))


async def test_a_follower_that_comes_back_gets_only_what_it_missed(plane, session):
    await plane.deploy()
    await plane.until(lambda: plane.is_ready(Service, "hello"))
    async with session.ws_connect(f"{plane.url}/dataplane/v1/snapshot") as socket:
        have = changed(Snapshot(generation=-1), msgspec.json.decode(await socket.receive_str(), type=Change))
    plane.control.publisher.endpoints("default/hello-00001", ())
    plane.control.publisher.flush()
    async with session.ws_connect(f"{plane.url}/dataplane/v1/snapshot?from={have.generation}") as socket:
        change = msgspec.json.decode(await socket.receive_str(), type=Change)
    assert change.base == have.generation
    assert list(change.revisions) == ["default/hello-00001"]
    assert changed(have, change) == plane.control.publisher.snapshot


async def test_an_answer_that_is_none_ends_the_connection(plane, session):
    async with session.ws_connect(f"{plane.url}/dataplane/v1/snapshot") as socket:
        await socket.receive_str()
        await socket.send_str("applied!")
        message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == aiohttp.WSCloseCode.UNSUPPORTED_DATA


async def test_AS_06_a_stale_autoscaler_is_refused(plane, session):
    await plane.deploy()
    await plane.until(lambda: plane.is_ready(Service, "hello"))

    async def lease():
        async with session.post(f"{plane.url}/dataplane/v1/scale/lease") as answer:
            return (await answer.json())["token"]

    async def write(token, want):
        decision = Decision(revision="default/hello-00001", want=want, active="True")
        body = msgspec.json.encode({"token": token, "decisions": [decision]})
        async with session.post(f"{plane.url}/dataplane/v1/scale", data=body) as answer:
            return answer.status, await answer.json()

    first = await lease()
    assert (await write(first, 2))[0] == 200
    await plane.until(lambda: len(plane.store.objects("", "Pod")) == 2)
    second = await lease()
    status, body = await write(first, 9)
    assert (status, body["reason"]) == (409, "Conflict")
    assert (await write(second, 3))[0] == 200
    await plane.until(lambda: len(plane.store.objects("", "Pod")) == 3)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": "x", "decisions": []}', b'{"token": 1, "decisions": [{}]}'])
async def test_a_malformed_scale_write_is_a_bad_request(plane, session, body):
    async with session.post(f"{plane.url}/dataplane/v1/scale", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["kind"] == "Status"


async def test_a_giant_scale_write_is_refused_while_it_is_read(plane, session):
    async with session.post(f"{plane.url}/dataplane/v1/scale", data=io.BytesIO(b" " * 2_000_000)) as answer:
        assert answer.status == 413


async def test_explain_over_http(plane, session):
    await plane.deploy()
    await plane.until(lambda: plane.is_ready(Service, "hello"))
    base = f"{plane.url}/dataplane/v1/explain/ksvc/default"
    async with session.get(f"{base}/hello") as answer:
        why = msgspec.json.decode(await answer.read(), type=ServiceWhy)
    assert why.revisions[0].found == {"ready": 1}
    async with session.get(f"{base}/hello?format=text") as answer:
        assert (await answer.text()).startswith("default/hello  http://hello.default.localhost:8080\n")
    async with session.get(f"{base}/nobody") as answer:
        assert answer.status == 404
        assert (await answer.json())["message"] == 'services.serving.knative.dev "nobody" not found'


async def test_a_configmap_changes_hosts_while_running(plane):
    await plane.deploy()
    await plane.until(lambda: plane.is_ready(Service, "hello"))
    one = core.ConfigMap(metadata=ObjectMeta(name="config-domain", namespace="knative-serving"), data={"apps.test": ""})
    await plane.store.commit([Put(key_of(one), born(one, "cm", 0.0), None)])
    await plane.until(lambda: plane.get(Service, "hello").status.url == "http://hello.default.apps.test:8080")
    await plane.until(lambda: plane.is_ready(Service, "hello"))
    hosts = [host for rule in plane.control.publisher.snapshot.routes["default/hello"].rules for host in rule.hosts]
    assert "hello.default.apps.test" in hosts


async def test_a_restart_keeps_what_was_programmed_and_goes_on(plane):
    await plane.deploy()
    await plane.until(lambda: plane.is_ready(Service, "hello"))
    await plane.control.close()
    before = plane.control.publisher.snapshot
    again = Control(
        store=plane.store,
        loop=asyncio.get_running_loop(),
        clock=SYSTEM,
        registry=Registry(),
        place=Place(url_port=8080),
        in_flight=lambda _: 0,
    )
    again.open()
    assert again.publisher.snapshot.generation > before.generation
    assert again.publisher.snapshot.routes == before.routes
    revision = plane.store.revision
    await again.loop.quiet()
    assert plane.store.revision == revision, "nothing had to be written"
    assert plane.is_ready(Service, "hello")
    assert plane.get(Revision, "hello-00001") is not None
    await again.close()


async def test_a_follower_says_what_runs_on_pods_with_the_generation_that_it_has_in_force(plane):
    await plane.deploy()
    await plane.until(lambda: plane.is_ready(Service, "hello"))
    running = {"pod-a": 2}
    tasks = Tasks("follower")
    follower = Follower(
        url=plane.url,
        token=Redacted("x"),
        on_change=lambda *_: None,
        tasks=tasks,
        registry=Registry(),
        running=lambda: dict(running),
    )
    occupancy = plane.control.occupancy
    assert occupancy.running("pod-a") == 0
    follower.start()
    await plane.until(lambda: occupancy.running("pod-a") == 2)
    running.clear()
    await plane.until(lambda: occupancy.remaining("pod-a") == 0)  # said again by itself while there was something
    await asyncio.sleep(0.3)
    running["pod-b"] = 1
    follower.count()
    await plane.until(lambda: occupancy.running("pod-b") == 1)
    await tasks.close()
    await plane.until(lambda: not occupancy._hops)
    assert occupancy.running("pod-b") == 1  # for a while: it may be serving on without us


async def test_a_follower_with_thousands_of_busy_pods_says_that_it_left_some_out(plane):
    pods = {f"{number:036}": 1 for number in range(RUNNING_MAX + 5)}
    tasks = Tasks("follower")
    follower = Follower(
        url=plane.url, token=Redacted("x"), on_change=lambda *_: None, tasks=tasks, registry=Registry(),
        running=lambda: pods,
    )  # fmt: skip
    follower.start()
    occupancy = plane.control.occupancy
    await plane.until(lambda: occupancy.running(f"{0:036}") == 1)
    assert occupancy.remaining(f"{0:036}") == 1
    assert occupancy.remaining(f"{RUNNING_MAX + 1:036}") is None
    await tasks.close()


async def test_a_follower_without_requests_of_its_own_is_not_waited_for(plane):
    tasks = Tasks("follower")
    follower = Follower(
        url=plane.url, token=Redacted("x"), on_change=lambda *_: None, tasks=tasks, registry=Registry()
    )  # fmt: skip
    follower.start()
    await follower.first()
    assert plane.control.occupancy.remaining("pod-a") == 0
    await tasks.close()
