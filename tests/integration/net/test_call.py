"""What becomes of one request of our own, against servers that do everything a server can do wrong."""

import asyncio
import socket
import ssl
import subprocess

import pytest

from dataplane.errors import ConfigFault, ConnectFailed, UpstreamProtocol, UpstreamReset, UpstreamTimeout
from dataplane.net.call import Call, open_line
from dataplane.net.engine import Engine
from dataplane.net.pool import PoolSettings
from dataplane.telemetry.metrics import Registry
from dataplane.wire.destination import parse
from tests.integration.subscriber import OK, Subscriber, answer

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


class Asked(Call):
    def __init__(self):
        super().__init__()
        self.over = asyncio.get_running_loop().create_future()

    def on_answer(self):
        assert not self.over.done(), "answered twice"
        self.over.set_result(None)


@pytest.fixture
async def engine():
    engine = Engine(loop=asyncio.get_running_loop(), registry=Registry(), pool=PoolSettings(connect_timeout_s=2))
    yield engine
    await engine.close()
    await asyncio.sleep(0)


@pytest.fixture
async def server():
    server = await Subscriber().start()
    yield server
    await server.stop()


def line_to(engine, url, *, timeout_s=5.0, answer_bytes_max=1000, repeatable=True, **more):
    return open_line(
        engine, parse(url), timeout_s=timeout_s, answer_bytes_max=answer_bytes_max, repeatable=repeatable, **more
    )


async def ask(line, data=REQUEST):
    call = Asked()
    line.send(call, data)
    async with asyncio.timeout(30):
        await call.over
    return call


async def test_status_fields_and_body_come_back(engine, server):
    server.script = answer(200, "Ce-Id: 7\r\ncontent-type: a/b\r\n", b"body")
    line = line_to(engine, server.url)
    call = await ask(line)
    assert (call.status, call.body, call.error, call.too_large) == (200, b"body", None, False)
    assert [(n.lower(), v) for n, v in call.fields] == [(b"ce-id", b"7"), (b"content-type", b"a/b")]
    assert len(line) == 0
    assert server.requests[0].body == b"hi"


async def test_the_next_call_takes_the_same_connection(engine, server):
    line = line_to(engine, server.url)
    for _ in range(5):
        assert (await ask(line)).status == 200
    assert server.connections == 1


async def test_a_body_in_chunks_and_pieces_is_put_together(engine, server):
    async def script(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"one ", b"two ", b"three"):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0.01)
        return b"0\r\n\r\n"

    server.script = script
    line = line_to(engine, server.url)
    assert (await ask(line)).body == b"one two three"
    assert (await ask(line)).body == b"one two three"
    assert server.connections == 1


async def test_a_body_without_a_length_ends_with_the_connection(engine, server):
    def script(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    server.script = script
    assert (await ask(line_to(engine, server.url))).body == b"until the end"


async def test_interim_responses_are_skipped(engine, server):
    server.script = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + answer(202)
    call = await ask(line_to(engine, server.url))
    assert (call.status, call.fields) == (202, [])


async def test_a_storm_of_interim_responses_is_no_answer(engine, server):
    server.script = b"HTTP/1.1 103 Early\r\n\r\n" * 40 + OK
    assert isinstance((await ask(line_to(engine, server.url))).error, UpstreamProtocol)


async def test_a_redirect_is_an_answer_and_is_not_followed(engine, server):
    server.script = answer(307, f"location: {server.url}elsewhere\r\n")
    assert (await ask(line_to(engine, server.url))).status == 307
    assert len(server.requests) == 1


async def test_a_switch_of_protocols_nobody_asked_for_ends_the_connection(engine, server):
    server.script = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    line = line_to(engine, server.url)
    assert (await ask(line)).status == 101
    server.script = OK
    assert (await ask(line)).status == 200
    assert server.connections == 2


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_bound_is_cut_and_its_connection_closed(engine, server, announced):
    async def script(request, writer):
        length = b"content-length: 200000000" if announced else b"transfer-encoding: chunked"
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        for _ in range(200):
            piece = b"x" * 1_000_000
            writer.write(piece if announced else b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        return b""

    server.script = script
    call = await ask(line_to(engine, server.url))
    assert (call.status, call.too_large, call.error) == (200, True, None)
    assert len(call.body) <= 1000
    async with asyncio.timeout(30):
        while server.open:
            await asyncio.sleep(0.01)


async def test_a_little_body_over_the_bound_is_cut_too(engine, server):
    server.script = answer(500, body=b"x" * 1001)
    call = await ask(line_to(engine, server.url))
    assert (call.status, call.too_large, len(call.body)) == (500, True, 1000)


async def test_nobody_there_is_a_failed_connection(engine):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        call = await ask(line_to(engine, f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert isinstance(call.error, ConnectFailed)
    assert "refused" in str(call.error)


async def test_a_name_nobody_knows_is_a_failed_connection(engine):
    assert isinstance((await ask(line_to(engine, "http://nobody.invalid/"))).error, ConnectFailed)


async def test_silence_ends_with_the_deadline(engine, server):
    server.script = lambda request, writer: asyncio.sleep(30, b"")
    line = line_to(engine, server.url, timeout_s=0.2)
    first, second = Asked(), Asked()
    line.send(first, REQUEST)
    line.send(second, REQUEST)
    await asyncio.wait_for(asyncio.gather(first.over, second.over), 10)
    assert isinstance(first.error, UpstreamTimeout)
    assert isinstance(second.error, UpstreamTimeout)
    assert len(line) == 0
    async with asyncio.timeout(30):
        while server.open:
            await asyncio.sleep(0.01)


async def test_a_slow_drip_ends_with_the_deadline(engine, server):
    async def script(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
        for _ in range(500):
            writer.write(b"x")
            await asyncio.sleep(0.02)
        return b""

    server.script = script
    assert isinstance((await ask(line_to(engine, server.url, timeout_s=0.3))).error, UpstreamTimeout)


async def test_the_deadline_of_a_later_call_counts_from_its_own_start(engine, server):
    loop = asyncio.get_running_loop()
    sent, began = asyncio.Event(), loop.time()

    async def script(request, writer):
        if len(server.requests) == 1:
            await sent.wait()
        else:
            await asyncio.sleep(began + 2.1 - loop.time())  # when the deadline of the first has passed
        return OK

    server.script = script
    line = line_to(engine, server.url, timeout_s=2.0)
    first, second = Asked(), Asked()
    line.send(first, REQUEST)
    await asyncio.sleep(1.2)
    line.send(second, REQUEST)
    sent.set()
    await first.over
    await second.over
    assert (first.status, second.status) == (200, 200)


async def test_what_is_not_http_is_a_protocol_fault(engine, server):
    server.script = b"SSH-2.0-OpenSSH\r\n\r\n"
    assert isinstance((await ask(line_to(engine, server.url))).error, UpstreamProtocol)


async def test_an_answer_that_breaks_off_is_a_reset(engine, server):
    def script(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")

    server.script = script
    assert isinstance((await ask(line_to(engine, server.url))).error, UpstreamReset)
    assert len(server.requests) == 1, "half an answer is no reason to send it again"


def closes_every_second(request, writer):
    seen = getattr(writer, "seen", 0)
    writer.seen = seen + 1
    return None if seen else OK


async def test_a_reused_connection_that_died_is_made_good_on_a_fresh_one(engine, server):
    server.script = closes_every_second
    line = line_to(engine, server.url)
    for _ in range(3):
        assert (await ask(line)).status == 200
    assert server.connections == 3


async def test_but_not_when_the_request_must_not_be_repeated(engine, server):
    server.script = closes_every_second
    line = line_to(engine, server.url, repeatable=False)
    assert (await ask(line)).status == 200
    assert isinstance((await ask(line)).error, UpstreamReset)


async def test_nor_when_whoever_asked_may_not_any_more(engine, server, monkeypatch):
    server.script = closes_every_second
    line = line_to(engine, server.url)
    monkeypatch.setattr(Asked, "may_repeat", lambda call: False)
    assert (await ask(line)).status == 200
    call = await ask(line)
    assert isinstance(call.error, UpstreamReset)
    assert server.connections == 1


async def test_and_only_once(engine, server):
    line = line_to(engine, server.url)
    assert (await ask(line)).status == 200
    server.script = lambda request, writer: None
    assert isinstance((await ask(line)).error, UpstreamReset)
    assert len(server.requests) == 3


async def test_a_fresh_connection_that_died_is_a_failure(engine, server):
    server.script = lambda request, writer: None
    assert isinstance((await ask(line_to(engine, server.url))).error, UpstreamReset)
    assert len(server.requests) == 1


async def test_a_cancelled_call_is_never_answered_and_its_connection_goes(engine, server):
    server.script = lambda request, writer: asyncio.sleep(0.2, OK)
    line = line_to(engine, server.url)
    running, dialling = Asked(), Asked()
    line.send(running, REQUEST)
    await server.got(1)
    line.send(dialling, REQUEST)
    line.cancel(dialling)
    line.cancel(running)
    line.cancel(running)
    assert len(line) == 0
    await asyncio.sleep(0.4)
    assert not running.over.done()
    assert not dialling.over.done()
    assert (await ask(line)).status == 200


async def test_closing_a_line_cancels_what_is_open(engine, server):
    server.script = lambda request, writer: asyncio.sleep(5, OK)
    line = line_to(engine, server.url)
    calls = [Asked() for _ in range(20)]
    for call in calls:
        line.send(call, REQUEST)
    await server.got(20)
    line.close()
    async with asyncio.timeout(30):
        while server.open:
            await asyncio.sleep(0.01)
    assert not any(call.over.done() for call in calls)


async def test_a_connection_with_bytes_after_the_answer_is_not_used_again(engine, server):
    server.script = OK + b"garbage"
    line = line_to(engine, server.url)
    assert (await ask(line)).status == 200
    server.script = OK
    assert (await ask(line)).status == 200
    assert server.connections == 2


async def test_a_cluster_local_name_goes_to_the_gateway(engine, server):
    gateway = f"127.0.0.1:{server.port}"
    line = line_to(engine, "http://hello.default.svc.cluster.local/x", cluster_local=gateway)
    assert (await ask(line)).status == 200


# ---- https ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=sub.localhost"]
        + ["-addext", "subjectAltName=DNS:sub.localhost"],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
async def secure(certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = await Subscriber().start(tls)
    yield server
    await server.stop()


def secure_line(engine, secure, certificate, **more):
    pem = (certificate / "cert.pem").read_text()
    return line_to(engine, f"https://sub.localhost:{secure.port}/a?b", ca_certs=pem, **more)


async def test_https_with_a_certificate_of_ones_own(engine, secure, certificate):
    secure.script = answer(200, "ce-id: 7\r\nset-cookie: a=b\r\n", b"body")
    line = secure_line(engine, secure, certificate)
    call = await ask(line, b"POST / HTTP/1.1\r\nhost: x\r\nprefer: reply\r\ncontent-length: 2\r\n\r\nhi")
    await ask(line)
    assert (call.status, call.body, call.error) == (200, b"body", None)
    assert (b"ce-id", b"7") in call.fields
    first, second = secure.requests
    assert first.line == "POST /a?b HTTP/1.1"
    assert first.headers == {"host": f"sub.localhost:{secure.port}", "prefer": "reply", "content-length": "2"}
    assert first.body == b"hi"
    assert "cookie" not in second.headers
    assert secure.connections == 1
    line.close()


async def test_https_without_it_is_a_failed_connection(engine, secure):
    line = line_to(engine, f"https://sub.localhost:{secure.port}/")
    assert isinstance((await ask(line)).error, ConnectFailed)
    line.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 70 + ".x", "127.0.0.1:1", "999999999999", "a\\b", "x%20y"])
async def test_a_host_that_cannot_be_is_a_failed_call(engine, scheme, host):
    line = line_to(engine, f"{scheme}://{host}/")
    call = await ask(line)
    assert isinstance(call.error, ConnectFailed | UpstreamReset)
    assert "object at 0x" not in str(call.error)
    line.close()


async def test_https_takes_a_long_field(engine, secure, certificate):
    secure.script = answer(200, f"ce-x: {'x' * 30_000}\r\n")
    line = secure_line(engine, secure, certificate)
    assert (b"ce-x", b"x" * 30_000) in (await ask(line)).fields
    line.close()


async def test_https_keeps_the_bound_the_deadline_and_the_redirect_rule(engine, secure, certificate):
    line = secure_line(engine, secure, certificate)
    secure.script = answer(302, "location: https://elsewhere.invalid/\r\n")
    assert (await ask(line)).status == 302
    secure.script = answer(200, body=b"x" * 5000)
    call = await ask(line)
    assert (call.too_large, len(call.body)) == (True, 1000)
    secure.script = lambda request, writer: asyncio.sleep(30, b"")
    hasty = secure_line(engine, secure, certificate, timeout_s=0.5)
    assert isinstance((await ask(hasty)).error, UpstreamTimeout)
    hasty.close()
    secure.script = lambda request, writer: None
    assert isinstance((await ask(line)).error, UpstreamReset)
    line.close()


async def test_https_calls_can_be_cancelled(engine, secure, certificate):
    secure.script = lambda request, writer: asyncio.sleep(30, b"")
    line = secure_line(engine, secure, certificate)
    call = Asked()
    line.send(call, REQUEST)
    await secure.got(1)
    line.cancel(call)
    assert len(line) == 0
    async with asyncio.timeout(30):
        while secure.open:
            await asyncio.sleep(0.01)
    assert not call.over.done()
    line.close()


async def test_certificates_that_are_none_are_told(engine):
    with pytest.raises(ConfigFault, match="PEM"):
        line_to(engine, "https://x.localhost/", ca_certs="nonsense")
