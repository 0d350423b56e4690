"""kill -9 of `dataplane up` at random moments: what was acknowledged is there, no process is left, serving resumes."""

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Up, alive, command, descendants, started
from tests.e2e.services import Api, service, until

KILLS = 10
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
HOST = "web.default.localhost"
FAILURES = (OSError, http.client.HTTPException)


class Writer(threading.Thread):
    """Applies as fast as it is answered. `acknowledged`: what the API said it has, by name; `asked`: the one it had not
    answered when it died, which may be there or not."""

    def __init__(self, up: Up, round_: int, acknowledged: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.api = Api(up.api, up.token)
        self.round = round_
        self.acknowledged = acknowledged
        self.asked: tuple[str, str] = ("", "")

    def run(self) -> None:
        with contextlib.suppress(*FAILURES):
            self._service(f"svc-{self.round}")
            for number in range(100_000):
                name, value = f"map-{number % 50}", f"{self.round}.{number}"
                self.asked = (name, value)
                body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"value": value}}
                if name in self.acknowledged:
                    self.api.call("PUT", f"{CONFIG_MAPS}/{name}", body)
                else:
                    self.api.call("POST", CONFIG_MAPS, body)
                self.acknowledged[name] = value
        self.api.close()

    def _service(self, name: str) -> None:
        self.asked = (name, str(self.round))
        self.api.create(service(name, str(self.round), env={"MARK": "a pod of this test"}, max_scale="1"))
        self.acknowledged[name] = str(self.round)


def found(api: Api) -> dict[str, str]:
    """What is there, in the form of `acknowledged`."""
    out = {
        one["metadata"]["name"]: one["data"]["value"]
        for one in api.call("GET", CONFIG_MAPS)["items"]
        if one["metadata"]["name"].startswith("map-")
    }
    services = api.call("GET", "/apis/serving.knative.dev/v1/namespaces/default/services")["items"]
    return out | {one["metadata"]["name"]: _version(one) for one in services}


def _version(manifest: dict[str, Any]) -> str:
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    return str(next(one["value"] for one in container["env"] if one["name"] == "VERSION"))


def pods_anywhere(mark: str) -> set[tuple[int, str]]:
    """(pid, start time) of every process on this machine with that text in its environment."""
    out = set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                out.add((int(folder.name), started(int(folder.name))))
    return out


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_kills_lose_nothing_acknowledged_leave_no_process_and_serving_resumes(start, tmp_path):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"\nseed {seed}")
    moments = random.Random(seed)
    mark = f"mark-of-{tmp_path}"
    data = tmp_path / "data"
    acknowledged: dict[str, str] = {}

    up = start(data=data)
    api = Api(up.api, up.token)
    api.create(service("web", "web", env={"MARK": mark}))
    api.ready("web")
    acknowledged["web"] = "web"
    slowest_s = 0.0
    for round_ in range(KILLS):
        writer = Writer(up, round_, acknowledged)
        stop = threading.Event()
        clients = [threading.Thread(target=traffic, args=(up, stop), daemon=True) for _ in range(2)]
        for thread in (writer, *clients):
            thread.start()
        time.sleep(moments.uniform(0.0, 1.2))
        family = {*descendants(up.process.pid), *pods_anywhere(mark)}
        os.kill(up.process.pid, signal.SIGKILL)
        up.process.wait()
        stop.set()
        for thread in (writer, *clients):
            thread.join(20)
            assert not thread.is_alive(), "a client hangs after the kill"
        until(lambda: not left(family, mark), "nothing of it is left", 60)  # noqa: B023
        assert not left(family, mark), [command(pid) for pid, _ in left(family, mark)]

        began = time.monotonic()
        up = start(data=data)
        api = Api(up.api, up.token)
        there = found(api)
        unanswered, value = writer.asked
        lost = {
            name: (wanted, there.get(name))
            for name, wanted in acknowledged.items()
            if there.get(name) != wanted and (name != unanswered or there.get(name) != value)
        }
        assert not lost, f"round {round_}, seed {seed}: acknowledged and found {lost}"
        acknowledged |= {name: text for name, text in there.items() if name == unanswered}
        until(lambda: up.get(HOST)[0] == 200, "it serves again", 60)  # noqa: B023
        slowest_s = max(slowest_s, time.monotonic() - began)
        api.close()
    print(
        f"{len(acknowledged)} objects survived {KILLS} kills; the slowest start to a served request took {slowest_s:.1f} s"
    )
    assert sum(name.startswith("svc-") for name in acknowledged) >= 1
    assert sum(name.startswith("map-") for name in acknowledged) >= 10
    up.stop()
    assert not left(set(), mark)


def left(family: set[tuple[int, str]], mark: str) -> list[tuple[int, str]]:
    return [who for who in family | pods_anywhere(mark) if alive(*who)]


def traffic(up: Up, stop: threading.Event) -> None:
    """Whatever is answered is a 200; that it ends with the instance is no news."""
    with contextlib.suppress(*FAILURES):
        while not stop.is_set():
            status, body, _ = up.get(HOST)
            assert status == 200, body
