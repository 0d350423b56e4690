import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from broker.inspect import BODY_BYTES_MAX, _asked, _body, _limit, _Refused, _start
from dataplane.errors import BadPosition, StoreFault, StoreUnavailable


async def _raises(fault: StoreFault) -> None:
    raise fault


@pytest.mark.parametrize(("fault", "status"), [(BadPosition("'x' is none"), 400), (StoreUnavailable("away"), 503)])
async def test_a_position_that_is_none_is_the_askers_mistake_and_not_the_stores(fault: StoreFault, status: int) -> None:
    with pytest.raises(_Refused, match=str(fault)) as refused:
        await _asked(_raises(fault))
    assert refused.value.status == status


async def test_what_is_no_position_is_told_everything_that_would_be_right() -> None:
    with pytest.raises(_Refused, match="'x' is none; or latest, earliest, a time like"):
        await _asked(_raises(BadPosition("'x' is none")))


@pytest.mark.parametrize("text", ["", "2026-01-31T00:00:00"])
def test_a_start_that_is_none_is_refused_as_everything_else_is(text: str) -> None:
    with pytest.raises(_Refused, match="expected latest, earliest") as refused:
        _start(text)
    assert refused.value.status == 400


@pytest.mark.parametrize("text", ["x", "-1", "1001", "9" * 5000, "\u0665"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(_Refused, match="expected a number up to") as refused:
        _limit(make_mocked_request("GET", "/?limit=" + text))
    assert refused.value.status == 400


async def _sent(*pieces: bytes) -> tuple[int, object]:
    async def echo(request: web.Request) -> web.Response:
        try:
            return web.json_response(await _body(request, list[str]))
        except _Refused as refused:
            return web.json_response(None, status=refused.status)

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0.01)

    app = web.Application(client_max_size=0)
    app.router.add_post("/", echo)
    async with TestClient(TestServer(app)) as client, client.post("/", data=body()) as answer:
        return answer.status, await answer.json()


async def test_a_body_is_read_to_its_end_however_it_comes() -> None:
    assert await _sent(b'["a",', b'"b"]') == (200, ["a", "b"])


@pytest.mark.parametrize(("pieces", "status"), [([b'["\xff"]'], 400), ([b"x" * 1024 * 1024, b"x"], 413)])
async def test_a_body_that_is_none_is_refused(pieces: list[bytes], status: int) -> None:
    assert BODY_BYTES_MAX == 1024 * 1024
    assert await _sent(*pieces) == (status, None)
