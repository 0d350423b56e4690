"""Reporters and the autoscaler over real sockets: StatsLink and Collector, broken in every way we could think of."""

import asyncio
import contextlib
import logging

import aiohttp
import msgspec
import pytest
from aiohttp import web

from autoscaler.collect import FRAMES_PER_S_MAX, Collector
from autoscaler.decide import Autoscaler
from dataplane.clock import SYSTEM
from dataplane.net.tasks import Tasks
from dataplane.resources.scaling import Autoscaling
from dataplane.resources.snapshot import Revision, Snapshot
from dataplane.runtime import reporting as reporting_module
from dataplane.runtime.reporting import WAITING_MAX, StatsLink
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import FRAME_BYTES_MAX, Stat, encode
from tests.ports import free_port

KEY = "default/hello-00001"
SECRET = Redacted("open sesame")


class Server:
    """An autoscaler behind a real port; `wants` collects what it decides."""

    def __init__(self, *, token=SECRET, known=True):
        loop = asyncio.get_running_loop()
        self.wants = []
        self.registry = Registry()
        self.autoscaler = Autoscaler(
            loop=loop,
            clock=SYSTEM,
            registry=self.registry,
            actuate=lambda ds: self.wants.extend(d.want for d in ds),
            local=False,
        )
        self.collector = Collector(autoscaler=self.autoscaler, token=token, loop=loop, registry=self.registry)
        if known:
            self.publish()

    def publish(self):
        revision = Revision(
            namespace="default", name="hello-00001", autoscaling=Autoscaling(initialized=True, initial_scale=0)
        )
        self.autoscaler.apply(Snapshot(generation=1, revisions={KEY: revision}), None)

    async def start(self, port=0):
        app = web.Application()
        app.add_routes(self.collector.routes())
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def stop(self):
        self.autoscaler.close()
        await self.collector.close()
        await self.runner.cleanup()

    def metric(self, text):
        return text in self.registry.render()


@contextlib.asynccontextmanager
async def serving(**options):
    server = await Server(**options).start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def reporting(url, *, token=SECRET):
    tasks, registry = Tasks("test"), Registry()
    link = StatsLink(url=url, token=token, tasks=tasks, loop=asyncio.get_running_loop(), registry=registry)
    link.registry_of_test = registry
    link.start()
    try:
        yield link
    finally:
        await tasks.close()


@contextlib.asynccontextmanager
async def socket_to(server, **headers):
    async with aiohttp.ClientSession() as session:
        given = {"Authorization": f"Bearer {SECRET.reveal()}", **headers}
        async with session.ws_connect(f"{server.url}/stats", headers=given) as socket:
            yield socket


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def poke(**fields):
    return Stat(KEY, fields.pop("reporter", "gateway"), 1.0, 1.0, poke=True, **fields)


async def test_a_poke_sent_before_the_link_is_up_arrives():
    async with serving() as server, reporting(server.url) as link:
        link.send([poke()])
        await until(lambda: 1 in server.wants)
        await until(lambda: not link._pokes)  # acknowledged: not repeated


async def test_AC_08_pokes_wait_for_an_autoscaler_that_is_away_and_arrive_within_a_second_of_its_return():
    port = free_port()
    first = await Server().start(port)
    url = first.url
    async with reporting(url) as link:
        await until(lambda: link.connected)
        await first.stop()
        await until(lambda: not link.connected)
        link.send([poke()])
        await asyncio.sleep(2.0)
        second = await Server().start(port)
        await until(lambda: 1 in second.wants)
        assert reporting_module._BACKOFF_MAX_S <= 1.0  # the longest wait of a reconnection, and so of the poke
        text = link.registry_of_test.render()
        assert 'kn_activator_stats_conn_reachable{peer="autoscaler"} 1\n' in text
        assert 'kn_activator_stats_conn_errors_total{peer="autoscaler"} 0\n' not in text
        await second.stop()


async def test_a_poke_of_a_revision_that_is_not_published_yet_is_repeated_until_it_is():
    async with serving(known=False) as server, reporting(server.url) as link:
        link.send([poke()])
        await until(lambda: link.connected)
        await asyncio.sleep(0.3)
        assert link._pokes
        server.publish()
        await until(lambda: 1 in server.wants)
        await until(lambda: not link._pokes)


async def test_a_poke_whose_load_is_gone_is_not_repeated():
    async with serving(known=False) as server, reporting(server.url) as link:
        link.send([poke()])
        await until(lambda: link._pokes)
        link.send([Stat(KEY, "gateway", 0.0, 0.0)])
        assert not link._pokes


async def test_silence_on_a_living_link_is_heard():
    async with serving() as server, reporting(server.url) as link:
        link.send([Stat(KEY, "gateway", 3.0, 3.0)])
        await until(lambda: server.wants)
        await asyncio.sleep(4.5)
        (seen,) = server.autoscaler.explain(KEY).reporters
        assert (seen.reporter, seen.status) == ("gateway", "heard")


async def test_goodbye_takes_the_reporter_out_and_a_broken_link_leaves_it_missing():
    async with serving() as server:
        async with reporting(server.url) as link:
            link.send([Stat(KEY, "gateway", 3.0, 3.0)])
            await until(lambda: server.wants)
            await link.close()
        await until(lambda: server.metric("dataplane_autoscaler_links 0\n"))
        assert server.autoscaler._reporters.status("gateway", 0) == "gone"
        async with socket_to(server) as socket:
            await socket.send_bytes(encode([Stat(KEY, "pod-1", 3.0, 3.0)]))
            await until(lambda: len(server.autoscaler.explain(KEY).reporters) > 0)
            socket._response.connection.transport.abort()
            await until(lambda: server.metric("dataplane_autoscaler_links 0\n"))
        loop = asyncio.get_running_loop()
        assert server.autoscaler._reporters.status("pod-1", loop.time()) == "missing"


async def test_a_reconnecting_reporter_says_who_it_is_before_it_has_anything_to_say():
    async with serving() as server, reporting(server.url) as link:
        link.send([Stat(KEY, "gateway", 3.0, 3.0)])
        await until(lambda: server.wants)
        await next(iter(server.collector._links.values())).close(code=1012)
        await until(lambda: server.metric("dataplane_autoscaler_links 1\n") and link.connected)
        loop = asyncio.get_running_loop()
        await until(lambda: server.autoscaler._reporters.status("gateway", loop.time()) == "heard")


async def test_shutdown_closes_with_service_restart():
    async with serving() as server, socket_to(server) as socket:
        await until(lambda: server.collector._links)
        await server.collector.close()
        message = await socket.receive(timeout=30)
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1012)


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer open sesame2", "open sesame"])
async def test_without_the_token_nobody_reports(given):
    async with serving() as server:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket_to(server, Authorization=given):
                pass
        assert refused.value.status == 401


async def test_no_token_set_means_none_is_asked_for():
    async with serving(token=Redacted("")) as server, reporting(server.url, token=Redacted("")) as link:
        link.send([poke()])
        await until(lambda: 1 in server.wants)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00" * 100,
        b"\xdd\xff\xff\xff\xff",
        msgspec.msgpack.encode([[KEY, "evil", float("nan"), 1.0, 0.0, 0.0, True]]),
        msgspec.msgpack.encode([[KEY, "evil", -1.0, 1.0, 0.0, 0.0, True]]),
        msgspec.msgpack.encode([[KEY, "evil", 1e300, 1.0, 0.0, 0.0, True]]),
        msgspec.msgpack.encode([[KEY, "evil", "many", 1.0]]),
        encode([poke(reporter="evil")] * 501),
    ],
)
async def test_AS_04_a_bad_frame_is_ignored_and_counted_and_the_next_good_one_is_taken(frame):
    async with serving() as server, socket_to(server, **{"x-dp-reporter": "evil"}) as socket:
        await socket.send_bytes(frame)
        await until(
            lambda: server.metric('dataplane_autoscaler_stats_rejected_total{reporter="evil",reason="frame"} 1\n')
        )
        assert all(want <= 0 for want in server.wants)
        await socket.send_bytes(encode([poke()]))
        await until(lambda: 1 in server.wants)


async def test_AS_04_a_frame_beyond_the_cap_ends_the_link():
    async with serving() as server, socket_to(server, **{"x-dp-reporter": "evil"}) as socket:
        await socket.send_bytes(b"\x00" * (FRAME_BYTES_MAX + 1))
        message = await socket.receive(timeout=30)
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 1009)
        await until(lambda: server.metric('{reporter="evil",reason="frame"} 1\n'))


async def test_AS_04_a_flood_of_frames_is_not_even_decoded():
    async with serving() as server, socket_to(server, **{"x-dp-reporter": "evil"}) as socket:
        frame = encode([Stat(KEY, "evil", 7.0, 7.0)])
        for _ in range(FRAMES_PER_S_MAX * 5):
            await socket.send_bytes(frame)
        await until(lambda: server.metric('reporter="evil",reason="rate"'))
        assert server.autoscaler.explain(KEY).decision.stable_average <= 14


async def test_text_is_not_a_report():
    async with serving() as server, socket_to(server, **{"x-dp-reporter": "evil"}) as socket:
        await socket.send_str("hello")
        await until(lambda: server.metric('{reporter="evil",reason="text"} 1\n'))


async def test_waiting_stats_are_bounded_and_the_newest_of_each_counts():
    async with reporting("http://127.0.0.1:9") as link:  # nobody listens on discard
        for n in range(WAITING_MAX + 100):
            link.send([Stat(f"default/r{n}", "gateway", 1.0, 1.0)])
        link.send([Stat("default/r4195", "gateway", 5.0, 5.0)])
        assert len(link._waiting) == WAITING_MAX
        assert link._waiting["default/r4195", "gateway"].concurrency == 5.0
        assert 'dataplane_stats_dropped_total{peer="autoscaler"} 100\n' in link.registry_of_test.render()


async def test_more_stats_than_a_frame_holds_are_sent_in_several():
    async with serving() as server, reporting(server.url) as link:
        link.send([Stat(f"default/r{n}", "gateway", 1.0, 1.0) for n in range(1200)] + [poke()])
        await until(lambda: 1 in server.wants)


async def test_a_poke_waits_together_with_the_report_that_follows_it():
    async with reporting("http://127.0.0.1:9") as link:
        link.send([poke()])
        link.send([Stat(KEY, "gateway", 0.4, 0.0)])
        (waiting,) = link._waiting.values()
        assert (waiting.poke, waiting.concurrency, waiting.requests) == (True, 1.0, 1.0)
        link.send([Stat(KEY, "gateway", 0.0, 0.0)])
        (waiting,) = link._waiting.values()
        assert not waiting.poke


async def test_an_outage_is_one_line_in_the_log(caplog):
    with caplog.at_level(logging.WARNING, logger="dataplane.runtime.reporting"):
        async with reporting("http://127.0.0.1:9"):
            await asyncio.sleep(1.5)
    assert [record.message.split()[0] for record in caplog.records] == ["autoscaler_lost"]
