"""Readiness of the app (§9.8) with the vectors of §16.11, on real sockets."""

import asyncio

import pytest

from dataplane.net.tasks import Tasks
from queueproxy.checks import Check, parse_checks
from queueproxy.probe import Readiness
from tests.ports import free_port


class Asker:
    def __init__(self) -> None:
        self.answers: list[str] = []
        self.came = asyncio.Event()

    def on_readiness(self, why_not: str) -> None:
        self.answers.append(why_not)
        self.came.set()


@pytest.fixture
async def make_readiness():
    tasks = Tasks("test")

    def make(*checks: Check) -> Readiness:
        return Readiness(checks=checks, loop=asyncio.get_running_loop(), tasks=tasks)

    yield make
    await tasks.close()


async def ask(readiness: Readiness) -> str:
    asker = Asker()
    readiness.ask(asker)
    await asker.came.wait()
    return asker.answers[0]


async def test_an_app_that_starts_to_listen_later_is_ready_soon_after(make_readiness):
    port = free_port()
    readiness = make_readiness(Check(port=port))
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting = asyncio.create_task(ask(readiness))
    await asyncio.sleep(0.3)
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", port)
    assert await waiting == ""
    assert loop.time() - began >= 0.3
    server.close()


async def test_askers_at_the_same_time_share_one_run(make_readiness, app):
    app.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    readiness = make_readiness(*parse_checks('{"httpGet": {"path": "/ready"}}', app.port))
    assert await asyncio.gather(ask(readiness), ask(readiness), ask(readiness)) == ["", "", ""]
    assert len(app.heads) == 1
    assert await ask(readiness) == ""
    assert len(app.heads) == 2  # nothing is remembered


async def test_a_patient_probe_that_gets_500_is_not_tried_again(make_readiness, app):
    app.answer = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    probe = '{"httpGet": {"path": "/"}, "periodSeconds": 5, "timeoutSeconds": 1}'
    readiness = make_readiness(*parse_checks(probe, app.port))
    assert await ask(readiness) == "HTTP status 500"
    assert len(app.heads) == 1


@pytest.mark.parametrize(("status", "passes"), [(200, True), (399, True), (400, False), (503, False)])
async def test_200_to_399_passes(make_readiness, app, status, passes):
    app.answer = b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status
    readiness = make_readiness(*parse_checks('{"httpGet": {}, "periodSeconds": 1}', app.port))
    assert (await ask(readiness) == "") is passes


async def test_an_answer_that_is_not_http_fails(make_readiness, app):
    app.answer = b"SSH-2.0-nonsense\r\n\r\n"
    readiness = make_readiness(*parse_checks('{"httpGet": {}, "periodSeconds": 1}', app.port))
    assert await ask(readiness) == "the answer is not HTTP"


async def test_the_probe_is_the_kubelets_and_carries_the_users_fields(make_readiness, app):
    probe = '{"httpGet": {"path": "ready?x=1", "httpHeaders": [{"name": "X-Probe", "value": "a b"}]}}'
    assert await ask(make_readiness(*parse_checks(probe, app.port))) == ""
    head = app.heads[0].decode()
    assert head.startswith("GET /ready?x=1 HTTP/1.1\r\n")
    assert "user-agent: kube-probe/1/33\r\n" in head
    assert f"host: 127.0.0.1:{app.port}\r\n" in head
    assert "X-Probe: a b\r\n" in head


async def test_redirects_within_the_host_are_followed(make_readiness, app):
    async def redirect(reader, writer, head):
        there = b"/real" if b"GET /start" in head else b""
        if there:
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: /real\r\ncontent-length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")

    app.answer = redirect
    readiness = make_readiness(*parse_checks('{"httpGet": {"path": "/start"}, "periodSeconds": 1}', app.port))
    assert await ask(readiness) == "HTTP status 500"
    assert [head.split(b" ")[1] for head in app.heads] == [b"/start", b"/real"]


async def test_a_redirect_to_elsewhere_is_an_answer_and_is_not_followed(make_readiness, app):
    app.answer = b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n"
    readiness = make_readiness(*parse_checks('{"httpGet": {}, "periodSeconds": 1}', app.port))
    assert await ask(readiness) == ""


async def test_a_redirect_in_a_circle_ends(make_readiness, app):
    app.answer = b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"
    readiness = make_readiness(*parse_checks('{"httpGet": {}, "periodSeconds": 1}', app.port))
    assert await ask(readiness) == "stopped after 10 redirects"


async def test_an_app_that_accepts_and_says_nothing_fails_within_its_time(make_readiness, app):
    async def silent(reader, writer, head):
        await reader.read(1)

    app.answer = silent
    readiness = make_readiness(Check(kind="http", port=app.port, aggressive=False, timeout_s=0.2))
    assert await ask(readiness) == "no answer within 0.2 s"


async def test_all_probes_must_pass_and_run_side_by_side(make_readiness, app):
    passing = Check(port=app.port)
    failing = Check(port=free_port(), aggressive=False, timeout_s=0.5)
    assert await ask(make_readiness(passing, passing)) == ""
    assert (await ask(make_readiness(passing, failing))).startswith("[Errno 111] ")


async def test_an_aggressive_check_passes_only_after_successes_in_a_row(make_readiness, app):
    async def now_and_then(reader, writer, head):
        status = b"200" if len(app.heads) in (1, 3, 4, 5) else b"500"
        writer.write(b"HTTP/1.1 " + status + b" X\r\ncontent-length: 0\r\n\r\n")

    app.answer = now_and_then
    readiness = make_readiness(*parse_checks('{"httpGet": {}, "successThreshold": 3}', app.port))
    assert await ask(readiness) == ""
    assert len(app.heads) == 5


async def test_grpc_is_refused_in_words(make_readiness):
    assert await ask(make_readiness(*parse_checks('{"grpc": {"port": 8080}}', 8080))) == (
        "grpc readiness probes are not supported yet"
    )


async def test_an_asker_that_left_is_not_called(make_readiness, app):
    readiness = make_readiness(Check(port=app.port))
    left, stays = Asker(), Asker()
    readiness.ask(left)
    readiness.ask(stays)
    readiness.forget(left)
    await stays.came.wait()
    assert left.answers == []
