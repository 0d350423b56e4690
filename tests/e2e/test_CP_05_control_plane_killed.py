"""CP-05: a gateway beside `dataplane up` outlives it, restarts without it, and goes on with its successor."""

import http.client
import signal

from tests.e2e.services import Api, service, until
from tests.integration.launch.conftest import Program, environ
from tests.ports import free_port

__all__ = ["environ"]

HOST = "web.default.localhost"


def status_through(gateway: Program) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port("http"), timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": HOST})
        return connection.getresponse().status
    finally:
        connection.close()


def test_CP_05_a_gateway_keeps_its_routes_while_the_control_plane_is_away_and_over_its_own_restart(
    start, environ, tmp_path
):
    api_address = f"127.0.0.1:{free_port()}"
    data = tmp_path / "data"
    up = start("--api", api_address, data=data)
    api = Api(up.api, up.token)
    api.create(service("web", min_scale="1"))
    api.ready("web")
    words = ["gateway", "--control", up.api, "--token-file", str(data / "token"), "--autoscaler", up.api]
    words += ["--cache", str(tmp_path / "kept"), "--http", "127.0.0.1:0", "--admin", ""]

    gateway = Program(words, tmp_path / "gateway-1.log", environ)
    try:
        assert status_through(gateway) == 200
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
        # The pods were the instance's and go with it, in a moment; the route is known still: that is no 404.
        until(lambda: status_through(gateway) == 502, "the pods are gone", 60)
    finally:
        gateway.stop(signal.SIGKILL)

    gateway = Program(words, tmp_path / "gateway-2.log", environ)
    try:
        assert status_through(gateway) == 502
        start("--api", api_address, data=data)
        until(lambda: status_through(gateway) == 200, "the gateway goes on with the new instance", 60)
        assert gateway.stop() == 0
    finally:
        gateway.stop(signal.SIGKILL)
    api.close()
