"""Services around app.py, and the API as a program speaks to it."""

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APP = Path(__file__).with_name("app.py")
SERVING = "/apis/serving.knative.dev/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"


def service(
    name: str,
    version: str = "1",
    *,
    limit: int | None = None,
    timeout_s: int | None = None,
    env: dict[str, str] | None = None,
    **annotations: str,
) -> dict[str, Any]:
    """A manifest. Annotations are those of autoscaling.knative.dev, `_` for `-`."""
    variables = {"VERSION": version, **(env or {})}
    spec: dict[str, Any] = {
        "containers": [
            {
                "image": "dev.local/app",
                "command": [sys.executable, str(APP)],
                "env": [{"name": key, "value": value} for key, value in variables.items()],
            }
        ]
    }
    if limit is not None:
        spec["containerConcurrency"] = limit
    if timeout_s is not None:
        spec["timeoutSeconds"] = timeout_s
    marks = {f"autoscaling.knative.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"metadata": {"annotations": marks}, "spec": spec}},
    }


class Api:
    """One keep-alive connection to the API of an instance; calls take turns. For threads beside a running loop."""

    def __init__(self, url: str, token: str) -> None:
        self._address = url.removeprefix("http://")
        self._token = token
        self._connection: http.client.HTTPConnection | None = None
        self._turn = threading.Lock()

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        """The decoded answer. Raises AssertionError unless it is a 2xx, OSError or HTTPException when it is none."""
        with self._turn:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._address, timeout=30)
            try:
                headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
                self._connection.request(method, path, None if body is None else json.dumps(body), headers)
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self._close()
                raise
        assert answer.status < 300, f"{method} {path}: {answer.status} {text.decode()[:500]}"
        return json.loads(text)

    def create(self, manifest: dict[str, Any]) -> Any:
        return self.call("POST", SERVING, manifest)

    def service(self, name: str) -> Any:
        return self.call("GET", f"{SERVING}/{name}")

    def patch(self, name: str, patch: dict[str, Any]) -> int:
        """The generation after it."""
        generation: int = self.call("PATCH", f"{SERVING}/{name}", patch, MERGE)["metadata"]["generation"]
        return generation

    def ready(self, name: str, generation: int = 0, within_s: float = 60.0) -> Any:
        """The Service as soon as it is Ready in that generation (or a later one)."""
        deadline = time.monotonic() + within_s
        while True:
            found = self.service(name)
            status = found.get("status", {})
            conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
            if status.get("observedGeneration", 0) >= max(1, generation) and conditions.get("Ready") == "True":
                return found
            assert time.monotonic() < deadline, f"{name} is not Ready: {status}"
            time.sleep(0.005)

    def pods(self, service: str) -> list[Any]:
        found = self.call("GET", "/api/v1/namespaces/default/pods")["items"]
        return [pod for pod in found if pod["metadata"]["labels"].get("serving.knative.dev/service") == service]

    def close(self) -> None:
        with self._turn:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def until(what: Callable[[], Any], wanted: str, within_s: float = 60.0) -> Any:
    """The first true value; polled, because it is somebody else's process."""
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {wanted}"
        time.sleep(0.05)
    return found
