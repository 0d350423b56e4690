"""Probe dispatch of spec §9.3, row by row, on real sockets."""

import asyncio

import pytest

from queueproxy.checks import Check
from tests.ports import free_port

PROBERS = ["kube-probe/1.33", "Knative-Activator-Probe", "Knative-Autoscaling-Probe"]


@pytest.mark.parametrize("agent", PROBERS)
async def test_a_prober_that_asks_for_queue_is_told_what_the_app_says(stand, agent):
    answer = await stand.probe(agent)
    assert (answer.status, answer.body) == (200, b"queue")
    assert stand.app.heads == []  # a TCP check: the app saw no request


@pytest.mark.parametrize("agent", PROBERS)
async def test_an_app_that_is_not_ready_is_503_without_a_body(make_stand, agent):
    port = free_port()
    stand = await make_stand(readiness=(Check(port=port, aggressive=False, timeout_s=0.5),))
    answer = await stand.probe(agent)
    assert (answer.status, answer.body) == (503, b"")
    assert answer.field(b"x-dp-reason").startswith(b"[Errno 111]")


async def test_AC_04_a_ready_answer_names_the_pod(stand):
    assert (await stand.probe()).field(b"x-dp-pod") == b"pod-1"


@pytest.mark.parametrize("agent", PROBERS)
@pytest.mark.parametrize(("value", "shown"), [("activator", b"activator"), ("probe", b"probe"), (None, b"")])
async def test_a_prober_that_asks_for_another_is_400_and_told_what_it_asked_for(stand, agent, value, shown):
    answer = await stand.probe(agent, value)
    assert (answer.status, answer.body) == (400, b"unexpected probe header value: " + shown + b"\n")


async def test_a_network_probe_gets_its_hash_back_from_any_client(stand):
    answer = await stand.get(k_network_probe="probe", k_network_hash="cafe42", user_agent="Knative-Ingress-Probe")
    assert (answer.status, answer.field(b"k-network-hash")) == (200, b"cafe42")
    assert stand.app.heads == []


async def test_a_network_probe_without_a_hash_is_400(stand):
    answer = await stand.get(k_network_probe="probe")
    assert answer.status == 400
    assert answer.body == b'a probe request must contain a non-empty "K-Network-Hash" header\n'


async def test_an_ordinary_client_that_asks_for_queue_is_user_traffic(stand):
    answer = await stand.get(k_network_probe="queue", user_agent="curl/8")
    assert (answer.status, answer.body) == (200, b"ok")
    assert len(stand.app.heads) == 1


async def test_a_kubelet_probe_by_header_passes_the_gate_and_is_not_counted(make_stand):
    stand = await make_stand(concurrency=1)
    release = asyncio.Event()

    async def slow(reader, writer, head):
        if b"/slow" in head:
            await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    stand.app.answer = slow
    first = asyncio.create_task(stand.get("/slow"))
    await stand.until(lambda: stand.app.running == 1)
    answer = await stand.get("/live", k_kubelet_probe="1")
    assert answer.status == 200
    assert b"kubelet" not in stand.app.heads[-1].lower()
    assert stand.proxy.traffic.running == 1
    release.set()
    assert (await first).status == 200


async def test_every_probe_is_503_shutting_down_while_draining_and_traffic_is_served(stand):
    stand.proxy.drain.begin()
    answers = [
        *[await stand.probe(agent) for agent in PROBERS],
        await stand.probe(probe="other"),
        await stand.get(k_network_probe="probe", k_network_hash="x"),
    ]
    assert [(a.status, a.body) for a in answers] == [(503, b"shutting down\n")] * 5
    assert (await stand.get()).status == 200


async def test_a_probe_that_was_waiting_when_the_drain_began_is_told_so(make_stand):
    port = free_port()
    stand = await make_stand(readiness=(Check(port=port),))
    waiting = asyncio.create_task(stand.probe())
    await stand.until(lambda: stand.proxy.readiness._askers)
    stand.proxy.drain.begin()
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", port)
    assert (await waiting).body == b"shutting down\n"
    server.close()


async def test_probes_are_not_counted(stand):
    await stand.probe()
    await stand.get(k_network_probe="probe", k_network_hash="x")
    assert stand.metric("kn_serving_invocation_duration_seconds_count") == 0
    assert stand.proxy.drain.in_flight == 0


async def test_a_prober_that_left_is_forgotten(make_stand):
    stand = await make_stand(readiness=(Check(port=free_port()),))
    _, writer = await stand.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nuser-agent: kube-probe/1.33\r\nk-network-probe: queue\r\n\r\n")
    await stand.until(lambda: len(stand.proxy.readiness._askers) == 1)
    writer.close()
    await stand.until(lambda: not stand.proxy.readiness._askers)
    await stand.until(lambda: len(stand.proxy.listener) == 0)


async def test_a_reason_that_cannot_stand_in_a_header_is_made_sendable(stand):
    asked = asyncio.create_task(stand.probe())
    stand.proxy.readiness._check = strange
    answer = await asked
    assert (answer.status, answer.field(b"x-dp-reason")) == (503, b"b?d?" + b"x" * 196)


async def strange(check):
    return "b\u00e4d\n" + "x" * 1000
