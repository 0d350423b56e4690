"""What the app sees (§9.4), what the client sees when the app fails (§9.7), and how a pod's connections are used."""

import asyncio
import socket

import pytest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def fields(head: bytes) -> dict[bytes, bytes]:
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:] if line]
    return {name.lower(): value for name, _, value in lines}


async def test_knatives_own_fields_do_not_reach_the_app(stand):
    await stand.get(
        knative_serving_revision="r",
        knative_serving_namespace="n",
        k_network_hash="h",
        k_proxy_request="activator",
        k_kubelet_probe="1",
        knative_serving_tag="blue",
        x_user="kept",
    )
    seen = fields(stand.app.heads[0])
    assert not [name for name in seen if name.startswith((b"k-", b"knative-serving-r", b"knative-serving-n"))]
    assert (seen[b"knative-serving-tag"], seen[b"x-user"]) == (b"blue", b"kept")


async def test_the_app_is_addressed_by_the_name_its_client_used(stand):
    await stand.get(k_original_host="hello.example.com")
    await stand.get()
    assert [fields(h)[b"host"] for h in stand.app.heads] == [b"hello.example.com", b"app.example"]


async def test_the_peer_is_appended_to_x_forwarded_for(stand):
    await stand.get(x_forwarded_for="203.0.113.7, 10.0.0.1")
    await stand.get()
    assert fields(stand.app.heads[0])[b"x-forwarded-for"] == b"203.0.113.7, 10.0.0.1, 127.0.0.1"
    assert fields(stand.app.heads[1])[b"x-forwarded-for"] == b"127.0.0.1"


async def test_forwarded_is_made_only_of_what_came_and_never_replaced(stand):
    await stand.get()
    await stand.get(x_forwarded_for="1.2.3.4, 2001:db8::1", x_forwarded_proto="https", x_forwarded_host="a.example")
    await stand.get(x_forwarded_for="1.2.3.4", forwarded="for=_hidden")
    await stand.get(x_forwarded_proto="https")
    made = [fields(h).get(b"forwarded") for h in stand.app.heads]
    assert made == [
        None,
        b'for=1.2.3.4;host=a.example;proto=https, for="[2001:db8::1]"',
        b"for=_hidden",
        b"proto=https",
    ]


async def test_hop_by_hop_fields_end_here(stand):
    await stand.send(
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close, x-mine\r\nx-mine: 1\r\nkeep-alive: 5\r\n"
        b"proxy-authorization: b\r\nte: gzip\r\ntrailer: x\r\nupgrade: h2c\r\n\r\n"
    )
    assert set(fields(stand.app.heads[0])) == {b"host", b"x-forwarded-for"}


async def test_a_user_agent_of_free_text_passes(stand):
    answer = await stand.send(b"GET / HTTP/1.1\r\nhost: x\r\nuser-agent: b\xc3\xa4r\r\nconnection: close\r\n\r\n")
    assert answer.status == 200
    assert fields(stand.app.heads[0])[b"user-agent"] == b"b\xc3\xa4r"


async def test_a_refused_connect_is_502_with_the_error_in_words(make_stand):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = held.getsockname()[1]
        stand = await make_stand(user_port=port)
        answer = await stand.get()
    assert answer.status == 502
    assert answer.body == b"dial tcp 127.0.0.1:%d: connect: connection refused\n" % port
    assert answer.field(b"content-type") == b"text/plain; charset=utf-8"
    assert answer.field(b"x-dp-error") == b"connect_failed"


async def hang_up(reader, writer, head):
    writer.transport.abort()


async def test_GW_20_an_app_that_hangs_up_is_502_and_asked_once(stand):
    stand.app.answer = hang_up
    answer = await stand.get()
    assert (answer.status, answer.field(b"x-dp-error")) == (502, b"upstream_reset")
    assert answer.body == b"read tcp 127.0.0.1:%d: connection reset by peer\n" % stand.app.port
    assert len(stand.app.heads) == 1


async def test_an_app_that_does_not_speak_http_is_502(stand):
    stand.app.answer = b"SSH-2.0-nope\r\n\r\n"
    answer = await stand.get()
    assert (answer.status, answer.field(b"x-dp-error")) == (502, b"upstream_protocol")


@pytest.mark.parametrize(("method", "status", "asked"), [("GET", 200, 4), ("POST", 502, 3)])
async def test_a_connection_that_went_stale_is_replaced_once_for_what_may_be_repeated(stand, method, status, asked):
    async def die_when_asked_again(reader, writer, head):
        writer.write(OK)
        await writer.drain()
        stand.app.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.transport.abort()

    stand.app.answer = die_when_asked_again
    together = await asyncio.gather(stand.get(), stand.get())  # two connections, both stale from now on
    assert [a.status for a in together] == [200, 200]
    assert stand.app.connections == 2
    answer = await stand.get(method=method)
    assert answer.status == status
    assert len(stand.app.heads) == asked


async def test_GW_21_an_app_that_dies_in_mid_response_cuts_the_client(stand):
    async def half(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    stand.app.answer = half
    reader, writer = await stand.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    got = b""
    try:
        got = await reader.read(65536)
        while more := await reader.read(65536):
            got += more
    except ConnectionResetError:
        pass
    assert b"hello" in got
    assert not got.endswith(b"0\r\n\r\n")


async def test_GW_23_a_client_that_leaves_frees_its_place_and_the_apps_connection(make_stand):
    stand = await make_stand(concurrency=1)

    async def never(reader, writer, head):
        await reader.read(1)

    stand.app.answer = never
    _, writer = await stand.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await stand.until(lambda: stand.app.running == 1)
    writer.transport.abort()
    await stand.until(lambda: stand.app.closed == 1)
    stand.app.answer = OK
    assert (await stand.get()).status == 200
    assert stand.proxy.traffic.running == stand.proxy.drain.in_flight == 0


async def test_GW_24_a_half_closed_client_gets_its_response(stand):
    async def slow(reader, writer, head):
        await asyncio.sleep(0.1)
        writer.write(OK)

    stand.app.answer = slow
    reader, writer = await stand.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    writer.write_eof()
    assert (await reader.read()).endswith(b"ok")


async def test_GW_25_a_slow_reader_holds_the_app_back(stand):
    sent = 0

    async def flood(reader, writer, head):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n")
        for _ in range(20_000):
            writer.write(b"x" * 10_000)
            await writer.drain()
            sent += 10_000

    stand.app.answer = flood
    _, writer = await stand.connect()
    writer.transport.pause_reading()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.2)
    assert 0 < sent < 30_000_000  # socket buffers of two hops, not the body


async def test_bodies_go_both_ways_in_pieces(stand):
    async def echo(reader, writer, head):
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body)

    stand.app.answer = echo
    answer = await stand.send(
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    )
    assert (answer.status, answer.body.replace(b"\r\n", b"")) == (200, b"7abcdefg0")


async def test_an_app_may_answer_before_the_body_has_come(stand):
    """Full duplex (§9.13) is how a non-Go proxy works anyway."""

    async def duplex(reader, writer, head):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2):
            line = await reader.readline()
            data = await reader.readexactly(int(line, 16) + 2)
            writer.write(line + data)
            await writer.drain()
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"0\r\n\r\n")

    stand.app.answer = duplex
    reader, writer = await stand.connect()
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for piece in (b"one", b"two"):
        writer.write(b"3\r\n" + piece + b"\r\n")
        assert (await reader.readuntil(piece + b"\r\n")).endswith(piece + b"\r\n")
    writer.write(b"0\r\n\r\n")
    assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


async def test_the_invocation_is_measured_by_status_with_the_names_of_the_revision(stand):
    await stand.get()
    text = stand.registry.render()
    assert 'kn_serving_invocation_duration_seconds_count{k8s_namespace_name="default",kn_service_name="hello",' in text
    assert 'kn_revision_name="hello-00001",http_response_status_code="200"} 1' in text
