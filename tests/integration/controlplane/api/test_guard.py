"""Who may use the API, and how refusals look."""

import base64

import aiohttp
import pytest

from tests.integration.controlplane.api.client import MAPS, Api

BASIC = "Basic " + base64.b64encode(b"dataplane:token").decode()


async def code(api: Api, path: str = MAPS, **headers: str) -> int:
    async with aiohttp.ClientSession() as session:
        async with session.get(
            api.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        ) as response:
            return response.status


async def test_the_token_comes_as_bearer_or_as_the_password_in_the_url(api: Api) -> None:
    assert await code(api, Authorization="Bearer token") == 200
    assert await code(api, Authorization=BASIC) == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer tokens",
        "Bearer toke",
        "token",
        "Basic token",
        "Basic dG9rZW4=",
        "Digest token",
        "Bearer ü",
    ],
)
async def test_without_the_token_nothing_but_health_is_answered(api: Api, header: str) -> None:
    for path in (MAPS, "/apis", "/version", "/openapi/v3", "/dataplane/v1/extra", "/nope"):
        assert await code(api, path, Authorization=header) == 401
    for path in ("/livez", "/healthz"):
        assert await code(api, path, Authorization=header) == 200


async def test_401_is_a_status(api: Api) -> None:
    status, body = await api("GET", MAPS, Authorization="Bearer x")
    assert (status, body["kind"], body["reason"], body["code"]) == (401, "Status", "Unauthorized", 401)
    assert api.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "127.0.0.1.evil.example", "[::2]:80", ""])
async def test_another_host_name_is_refused_even_with_the_token(api: Api, host: str) -> None:
    status, body = await api("GET", MAPS, Host=host)
    assert (status, body["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8001", "[::1]:8001", "[::1]"])
async def test_this_machine_has_these_names(api: Api, host: str) -> None:
    assert (await api("GET", MAPS, Host=host))[0] == 200


async def test_web_pages_are_refused_but_for_our_own(api: Api) -> None:
    for origin in (
        "http://evil.example",
        "null",
        "http://localhost:3000",
        "https://" + api.url.removeprefix("http://"),
    ):
        assert (await api("GET", MAPS, Origin=origin))[0] == 403
    assert (await api("GET", MAPS, Origin=api.url))[0] == 200


async def test_routes_of_the_composition_root_are_behind_the_same_guard(api: Api) -> None:
    assert await api("GET", "/dataplane/v1/extra") == (200, {"extra": True})
    assert await code(api, "/readyz") == 503, "its own word on health counts, and needs no token either"


async def test_unknown_paths_methods_and_kinds_are_statuses(api: Api) -> None:
    for path in ("/nope", "/api/v1/nodes", "/apis/nope/v1/things", f"{MAPS}/a/scale"):
        status, body = await api("GET", path)
        assert (status, body["kind"], body["reason"]) == (404, "Status", "NotFound")
    status, body = await api("PATCH", MAPS)
    assert (status, body["reason"]) == (405, "MethodNotAllowed")


async def test_a_bug_is_an_internal_error_without_its_text(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ValueError("secret detail")

    api.store.objects = broken
    status, body = await api("GET", MAPS)
    assert (status, body["reason"]) == (500, "InternalError")
    assert "secret detail" not in str(body)
    assert "api_failed" in caplog.text
