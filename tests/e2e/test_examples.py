"""Each example is applied by kubectl to a real `dataplane up` and does what its README says."""

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys

import pytest
import websockets
import yaml

from tests.e2e.conftest import EXAMPLES

FROM_ZERO = {"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "0s"}


def test_up_with_the_hello_folder_serves_it(start):
    up = start("-f", str(EXAMPLES / "hello"))
    assert up.get("hello.default.localhost")[:2] == (200, "Hello World!\n")
    up.ready("ksvc/hello")
    table = up.kubectl("get", "ksvc", "hello").splitlines()
    assert table[0].split() == ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"]
    assert table[1].split() == [
        "hello",
        f"http://hello.default.localhost:{up.port}",
        "hello-00001",
        "hello-00001",
        "True",
    ]


def test_hello_goes_to_zero_and_comes_back(start):
    up = start(images=EXAMPLES / "hello" / "images.yaml")
    hello = yaml.safe_load((EXAMPLES / "hello" / "hello.yaml").read_text())
    hello["spec"]["template"]["metadata"] = {"annotations": FROM_ZERO}
    up.kubectl("apply", "-f", "-", stdin=json.dumps(hello))
    up.ready("ksvc/hello")
    assert up.get("hello.default.localhost")[:2] == (200, "Hello World!\n")
    up.eventually(lambda: not up.kubectl("get", "pods", "-o", "name").strip(), "no pod is left")
    assert up.get("hello.default.localhost")[:2] == (200, "Hello World!\n")
    up.eventually(lambda: up.kubectl("get", "pods", "-o", "name").strip(), "a pod is back")
    assert up.status("ksvc", "hello")["url"] == f"http://hello.default.localhost:{up.port}"


def test_a_function_of_func_python_answers_through_its_middleware(start):
    pytest.importorskip("func_python", reason="the functions extra is not installed")
    up = start(images=EXAMPLES / "function" / "images.yaml")
    up.apply("function/function.yaml")
    up.ready("ksvc/greet")
    status, body, headers = up.get("greet.default.localhost", method="POST", body=b'{"name": "Ada"}')
    assert (status, json.loads(body)) == (200, {"message": "Hello Ada!", "method": "POST"})
    assert headers["content-type"] == "application/json"
    assert up.get("greet.default.localhost", "/health/liveness")[:2] == (200, "Alive")


def test_blue_green_stages_splits_and_switches(start):
    up = start(images=EXAMPLES / "blue-green" / "images.yaml")
    up.apply("blue-green/blue.yaml")
    up.ready("ksvc/color")
    assert up.get("color.default.localhost")[1] == "blue color-blue\n"

    up.apply("blue-green/rollout/1-stage.yaml")
    up.ready("ksvc/color", "rev/color-green")
    assert set(up.tally("color.default.localhost", 500)) == {"blue color-blue"}
    assert set(up.tally("green-color.default.localhost", 500)) == {"green color-green"}

    up.apply("blue-green/rollout/2-canary.yaml")
    up.ready("ksvc/color")
    for _ in range(2):  # one honest run in a thousand lands outside
        found = up.tally("color.default.localhost", 10_000)
        assert set(found) == {"blue color-blue", "green color-green"}
        if 900 <= found["green color-green"] <= 1100:
            break
    else:
        pytest.fail(f"90/10 came out as {found}")
    assert set(up.tally("blue-color.default.localhost", 500)) == {"blue color-blue"}

    up.apply("blue-green/rollout/3-switch.yaml")
    up.ready("ksvc/color")
    assert set(up.tally("color.default.localhost", 2_000)) == {"green color-green"}
    assert set(up.tally("blue-color.default.localhost", 200)) == {"blue color-blue"}
    traffic = {target["tag"]: target for target in up.status("ksvc", "color")["traffic"]}
    assert traffic["green"]["percent"] == 100
    assert traffic["green"]["url"] == f"http://green-color.default.localhost:{up.port}"
    assert traffic["blue"].get("percent", 0) == 0


def test_several_containers_share_a_volume_and_read_their_config(start):
    up = start(images=EXAMPLES / "multi-container" / "images.yaml")
    up.apply("multi-container/site.yaml")
    up.ready("ksvc/site")
    template = next(yaml.safe_load_all((EXAMPLES / "multi-container" / "site.yaml").read_text()))["data"][
        "template.html"
    ]
    signature = hmac.new(b"not-much-of-a-secret", template.encode(), hashlib.sha256).hexdigest()
    status, body, _ = up.get("site.default.localhost")
    assert status == 200
    assert body == template.format(greeting="Welcome", service="site", signature=signature)
    pod = up.kubectl("get", "pods", "-o", "name").split()[0]
    assert up.kubectl("logs", pod, "-c", "renderer").strip() == "rendered"


async def test_a_websocket_is_echoed_from_zero(start):
    up = await asyncio.to_thread(start, images=EXAMPLES / "websocket" / "images.yaml")
    await asyncio.to_thread(up.apply, "websocket/echo.yaml")
    await asyncio.to_thread(up.ready, "ksvc/echo")
    uri = f"ws://echo.default.localhost:{up.port}/chat"
    async with asyncio.timeout(30), websockets.connect(uri, host="127.0.0.1", port=up.port, proxy=None) as socket:
        for message in ("hello", b"\x00\x01\x02", "x" * 100_000):
            await socket.send(message)
            assert await socket.recv() == message
    await asyncio.to_thread(up.stop)


def test_the_client_of_the_websocket_example_talks_to_it_as_its_page_says(start):
    up = start("-f", str(EXAMPLES / "websocket"))
    up.ready("ksvc/echo")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "websocket" / "talk.py"), "hello", "again"],
        env={**os.environ, "PORT": str(up.port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("hello\nagain\n", "")


def test_every_example_passes_a_server_side_dry_run(start):
    """A manifest that kubectl validates strictly has no unknown field and no fault of spec §5."""
    up = start()
    for path in sorted(EXAMPLES.rglob("*.yaml")):
        documents = list(yaml.safe_load_all(path.read_text()))
        if all(document.get("kind") for document in documents):
            said = up.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(path))
            assert said.count("dry run") == len(documents), f"{path}: {said}"
