"""A subscriber that is a Service of ours: reached by its cluster-local name through the gateway, and woken from zero."""

from activator.hold import HoldSettings
from dataplane.net.pool import PoolSettings
from dataplane.resources.snapshot import Endpoint, Path, Revision, Route, Rule, Snapshot, Split
from gateway.settings import GatewaySettings
from tests.conftest import House
from tests.integration.broker.delivery.conftest import event

NAME = "hello.default.svc.cluster.local"
KEY = "default/hello-00001"


def snapshot(generation, *endpoints):
    revision = Revision(namespace="default", name="hello-00001", service="hello", endpoints=endpoints)
    rule = Rule(hosts=(NAME,), paths=(Path(splits=(Split(revision=KEY),)),))
    route = Route(namespace="default", name="hello", rules=(rule,), hash="cafe")
    return Snapshot(generation=generation, routes={"default/hello": route}, revisions={KEY: revision})


async def test_an_event_for_a_service_at_zero_waits_in_the_data_plane_until_there_is_a_pod(make_house):
    plane = House(GatewaySettings(), HoldSettings(), PoolSettings(), separate=False)
    await plane.start()
    plane.origin.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    plane.apply(snapshot(10))
    house = await make_house(cluster_local_gateway=f"127.0.0.1:{plane.port}")
    try:
        await house.trigger("t", f"http://{NAME}/orders?kind=new", timeout_s=20)
        await house.publish(event("1", b"payload"))
        await house.until(lambda: plane.activator._holds[KEY].depth == 1)
        assert plane.origin.requests == 0
        plane.apply(snapshot(11, Endpoint(id="pod", address=plane.origin.address)))
        await house.until(lambda: house.metric("dataplane_broker_deliveries_total", outcome="delivered") == 1)
        head = plane.origin.log.lower()
        assert head.startswith(b"post /orders?kind=new http/1.1\r\n")
        assert b"\r\nhost: " + NAME.encode() + b"\r\n" in head
        assert b"\r\nce-id: 1\r\n" in head
        assert b"payload" in head
        assert house.metric("dataplane_broker_deliveries_total", outcome="retried") == 0
    finally:
        await plane.stop()
