import json

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dataplane.errors import ConfigFault
from dataplane.resources.snapshot import Snapshot
from dataplane.resources.triggers import Broker
from dataplane.runtime.admin import Admin, split_address
from dataplane.telemetry.metrics import Registry


async def _get(admin: Admin, path: str, host: str = "localhost") -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{admin.port}{path}", headers={"Host": host}) as answer:
            return answer.status, await answer.text(), answer.headers["Content-Type"]


async def test_the_admin_port_answers_metrics_health_and_the_snapshot() -> None:
    registry, checks, present = Registry(), {"store": lambda: "", "snapshot": lambda: ""}, [Snapshot(generation=3)]
    registry.counter("requests_total", "Requests.", ("code",)).cell("200").v += 5
    admin = Admin(address="127.0.0.1:0", registry=registry, checks=checks, snapshot=lambda: present[0])
    await admin.start()
    status, text, type_ = await _get(admin, "/metrics")
    assert (status, type_) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert [f.name for f in text_string_to_metric_families(text)] == ["requests"]
    assert (await _get(admin, "/livez"))[:2] == (200, "ok")
    assert (await _get(admin, "/healthz"))[:2] == (200, "ok")
    assert (await _get(admin, "/readyz"))[:2] == (200, "ok")
    status, text, _ = await _get(admin, "/readyz?verbose")
    assert text == "[+]store ok\n[+]snapshot ok\nreadyz check passed\n"
    checks["snapshot"] = lambda: "none yet"
    status, text, _ = await _get(admin, "/readyz")
    assert (status, text) == (503, "[+]store ok\n[-]snapshot failed: none yet\nreadyz check failed\n")
    status, text, _ = await _get(admin, "/snapshot")
    assert json.loads(text)["generation"] == 3
    one = Broker(namespace="n", name="b", config={"bootstrap.servers": "k:1"}, secret={"password": "s3cret"})
    present[0] = Snapshot(generation=4, brokers={"n/b": one})
    _, text, _ = await _get(admin, "/snapshot")
    assert json.loads(text)["brokers"]["n/b"]["config"] == {"bootstrap.servers": "k:1"}
    assert "s3cret" not in text
    await admin.stop()


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", 403), ("127.0.0.1:99", 200), ("[::1]:99", 200), ("", 403)]
)
async def test_a_web_page_that_rebinds_its_name_to_loopback_is_refused(host: str, status: int) -> None:
    admin = Admin(address="127.0.0.1:0", registry=Registry(), checks={})
    await admin.start()
    assert (await _get(admin, "/metrics", host))[0] == status
    await admin.stop()


def test_addresses() -> None:
    assert split_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address(":80") == ("127.0.0.1", 80)
    for wrong in ("80", "x:", "x:99999", "x:-1"):
        with pytest.raises(ConfigFault, match="expected HOST:PORT"):
            split_address(wrong)
