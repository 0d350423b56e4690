"""`dataplane up` and every client command against it: real processes, real pods."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
Up = Callable[..., Any]

APP = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        body = f"{os.environ['TEXT']} {self.command} {self.path} {self.headers.get('x-sent', '')}".encode()
        length = int(self.headers.get("content-length") or 0)
        body += self.rfile.read(length)
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, form, *args):
        print("asked", self.path, flush=True)
print("app starts", flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever(poll_interval=60)
"""


def manifest(tmp_path: Path, name: str = "hello", text: str = "one", status: int = 200, **annotations: str) -> str:
    app = tmp_path / "app.py"
    app.write_text(APP)
    body = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "metadata": {
                    "annotations": {f"autoscaling.knative.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}
                },
                "spec": {
                    "containers": [
                        {
                            "image": "dev.local/app",
                            "command": [sys.executable, str(app)],
                            "env": [{"name": "TEXT", "value": text}, {"name": "STATUS", "value": str(status)}],
                        }
                    ]
                },
            }
        },
    }
    path = tmp_path / f"{name}-{text}.yaml"
    path.write_text(json.dumps(body))
    return str(path)


@pytest.fixture
def up(start: Up, environ: dict[str, str], tmp_path: Path) -> Up:
    """Starts `dataplane up` on free ports; the client commands of the test find it."""
    environ["DATAPLANE_DATA"] = str(tmp_path / "data")

    def run(*arguments: str) -> Any:
        return start("up", "--http", "127.0.0.1:0", "--api", "127.0.0.1:0", *arguments)

    return run


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_up_prints_one_line_serves_and_leaves_nothing_behind(up: Up, tmp_path: Path) -> None:
    program = up("-f", manifest(tmp_path))
    assert sorted(program.ready) == ["api", "http"]
    assert program.ask("hello.default.localhost").body == "one GET / "
    data = tmp_path / "data"
    assert {
        p.name: oct(p.stat().st_mode & 0o77) for p in (data / "instance.json", data / "kubeconfig", data / "token")
    } == {
        "instance.json": "0o0",
        "kubeconfig": "0o0",
        "token": "0o0",
    }
    assert program.stop(signal.SIGINT) == 0
    assert program.process.stdout is None or program.process.stdout.closed
    assert not (data / "instance.json").exists()


def test_what_was_applied_is_there_after_a_restart_and_after_a_kill(up: Up, tmp_path: Path, dataplane: Up) -> None:
    first = up("-f", manifest(tmp_path))
    first.process.kill()
    first.process.wait()
    second = up()
    assert second.ask("hello.default.localhost").body == "one GET / "
    assert second.stop() == 0
    third = up()
    assert third.ask("hello.default.localhost").body == "one GET / "
    assert _lines(dataplane("get", "ksvc").stdout)[1][0] == "hello"


def test_a_second_up_on_the_same_directory_is_refused_with_the_pid(up: Up, dataplane: Up) -> None:
    program = up("--in-memory")
    done = dataplane("up", "--http", "127.0.0.1:0", "--api", "127.0.0.1:0")
    assert done.returncode == 1
    assert f"another instance (pid {program.process.pid})" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_is_taken_ends_the_start_before_anything_is_applied(
    up: Up, dataplane: Up, tmp_path: Path, workers: int
) -> None:
    first = up("--workers", str(workers))
    taken = f"127.0.0.1:{first.port('http')}"
    again = ("--http", taken, "--api", "127.0.0.1:0", "--workers", str(workers), "--data", "other")
    done = dataplane("up", *again, "-f", manifest(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split(";")[0] for line in done.stderr.splitlines()] == [
        f"error: --http {taken}: the address is in use by another process"
    ]
    assert not (tmp_path / "other" / "state.db").exists()


def test_a_start_that_fails_leaves_no_task(up: Up, dataplane: Up, tmp_path: Path) -> None:
    (tmp_path / "broker.yaml").write_text(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n"
    )
    assert up("-f", str(tmp_path / "broker.yaml")).stop() == 0
    (tmp_path / "bad.yaml").write_text("kind: Brokr\n")
    done = dataplane("up", "--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "-f", "bad.yaml")
    assert done.returncode == 1
    assert "bad.yaml" in done.stderr
    assert "tasks_left" not in done.stderr


def test_up_serves_and_ends_without_any_standard_stream(environ: dict[str, str], tmp_path: Path) -> None:
    environ["DATAPLANE_DATA"] = str(tmp_path / "data")
    command = [sys.executable, "-m", "launch", "up", "--http", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    program = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=environ, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "data" / "instance.json").exists():
            assert program.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.terminate()
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.wait()


def test_three_mistakes_are_three_errors_with_places_and_nothing_starts(dataplane: Up, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        """apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: bad}
spec:
  template:
    spec:
      containers:
        - image: x
          imagee: x
          ports: [{containerPort: 8012}]
  traffic:
    - percent: 50
      latestRevision: true
"""
    )
    done = dataplane("up", "-f", "bad.yaml", "--http", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data", "data")
    assert (done.returncode, done.stdout) == (1, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: bad.yaml:")]
    assert [line.split(": ")[1] for line in errors] == ["bad.yaml:9:11", "bad.yaml:10:20", "bad.yaml:11:3"]
    assert 'did you mean "image"' in errors[0]


def test_apply_wait_prints_knatives_progress_and_the_url(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory")
    done = dataplane("apply", "-f", manifest(tmp_path), "--wait")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "service.serving.knative.dev/hello created"
    assert lines[1] == "Creating service 'hello' in namespace 'default':"
    assert lines[-4].endswith("s Ready to serve.")
    assert lines[-2] == "Service 'hello' created to latest revision 'hello-00001' is available at URL:"
    assert lines[-1].startswith("http://hello.default.localhost:")
    again = dataplane("apply", "-f", manifest(tmp_path))
    assert again.stdout == "service.serving.knative.dev/hello unchanged\n"


def test_apply_wait_waits_for_a_broker_and_its_trigger_to_a_service(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory")
    (tmp_path / "events.yaml").write_text(
        """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: orders}
spec:
  broker: default
  filters: [{exact: {type: order}}]
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
---
"""
        + Path(manifest(tmp_path)).read_text()
    )
    done = dataplane("apply", "-f", "events.yaml", "--wait")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.endswith(":") or "http" in line]
    assert said[-3:] == [
        "Creating trigger 'orders' in namespace 'default':",
        "Trigger 'orders' created; events go to:",
        "http://hello.default.svc.cluster.local",
    ]
    assert any(line.startswith("http://127.0.0.1:") and line.endswith("/default/default") for line in said)
    for kind in ("broker/default", "trigger/orders"):
        path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        assert dataplane("get", kind, "-o", path).stdout.strip() == "True"


def test_apply_is_all_or_nothing(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory")
    good = Path(manifest(tmp_path)).read_text()
    wrong = good.replace('"name": "hello"', '"name": "Not A Name"')
    done = dataplane("apply", "-f", "-", stdin=f"{good}\n---\n{wrong}")
    assert done.returncode == 1
    assert "error: <stdin>:3:" in done.stderr
    assert dataplane("get", "ksvc").stderr == "No resources found in default namespace.\n"


def test_dry_run_writes_nothing(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory")
    file = manifest(tmp_path)
    assert (
        dataplane("apply", "-f", file, "--dry-run=client").stdout
        == "service.serving.knative.dev/hello created (dry run)\n"
    )
    done = dataplane("apply", "-f", file, "--dry-run=server", "-o", "yaml")
    assert "serving.knative.dev/creator: dataplane" in done.stdout
    assert dataplane("get", "ksvc", "-o", "name").stdout == ""


def test_a_service_that_cannot_become_ready_fails_the_wait_with_the_reason(
    up: Up, dataplane: Up, tmp_path: Path
) -> None:
    up("--in-memory")
    (tmp_path / "x.yaml").write_text(
        "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: x}, "
        "spec: {template: {spec: {containers: [{image: nowhere.example/app}]}}}}"
    )
    done = dataplane("apply", "-f", "x.yaml", "--wait", "--wait-timeout", "30s")
    assert done.returncode == 1
    assert "service 'x' failed" in done.stderr
    assert "nowhere.example/app" in done.stderr


def test_a_wait_that_takes_too_long_exits_124(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory")
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
    (tmp_path / "slow.yaml").write_text(
        "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: slow}, spec: {template: {spec: "
        f"{{containers: [{{image: dev.local/slow, command: [{sys.executable}, {tmp_path / 'slow.py'}]}}]}}}}}}}}"
    )
    done = dataplane("apply", "-f", "slow.yaml", "--wait", "--wait-timeout", "1s")
    assert done.returncode == 124
    assert "was not ready within 1 s" in done.stderr


def test_get_speaks_kubectls_language(up: Up, dataplane: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path))
    url = f"http://hello.default.localhost:{program.port('http')}"
    rows = _lines(dataplane("get", "ksvc").stdout)
    assert rows == [
        ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"],
        ["hello", url, "hello-00001", "hello-00001", "True"],
    ]
    assert _lines(dataplane("get", "ksvc", "-A").stdout)[1][:2] == ["default", "hello"]
    assert dataplane("get", "ksvc/hello", "-o", "jsonpath={.status.url}").stdout == url
    assert dataplane("get", "ksvc,rev", "-o", "name").stdout.split() == [
        "service.serving.knative.dev/hello",
        "revision.serving.knative.dev/hello-00001",
    ]
    assert json.loads(dataplane("get", "ksvc", "hello", "-o", "json").stdout)["kind"] == "Service"
    assert json.loads(dataplane("get", "ksvc", "-o", "json").stdout)["kind"] == "List"
    assert "kind: Service" in dataplane("get", "ksvc", "hello", "-o", "yaml").stdout
    whole = [
        dataplane("get", "ksvc", *name, "-o", form).stdout for name in ((), ("hello",)) for form in ("json", "yaml")
    ]
    assert not [text for text in whole if "managedFields" in text]
    both = dataplane("get", "knative").stdout
    assert "service.serving.knative.dev/hello" in both
    assert "route.serving.knative.dev/hello" in both
    assert _lines(dataplane("get", "pods", "-l", "serving.knative.dev/service=hello").stdout)[1][1:3] == [
        "1/1",
        "Running",
    ]
    assert "No resources" in dataplane("get", "pods", "-l", "serving.knative.dev/service=other").stderr
    missing = dataplane("get", "ksvc", "gone")
    assert missing.returncode == 1
    assert missing.stderr == 'error: from server (NotFound): services.serving.knative.dev "gone" not found\n'


def test_describe_and_explain_say_what_is_and_why(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory", "-f", manifest(tmp_path))
    text = dataplane("describe", "ksvc/hello").stdout
    assert "  100%  ██████████  @latest (hello-00001)  [1]" in text
    assert "  ++ Ready" in text
    assert "Events:" in text
    assert "Name:         hello-00001" in dataplane("describe", "rev", "hello-00001").stdout
    why = dataplane("explain", "ksvc/hello")
    assert why.returncode == 0, why.stderr
    assert "hello-00001  100%  wanted 1, found 1 ready" in why.stdout
    assert json.loads(dataplane("explain", "ksvc/hello", "-o", "json").stdout)["revisions"][0]["name"] == "hello-00001"
    assert (
        "FIELD: containerConcurrency <integer>"
        in dataplane("explain", "ksvc.spec.template.spec.containerConcurrency").stdout
    )
    assert 'did you mean "spec"' in dataplane("explain", "ksvc.specc").stderr


def test_invoke_sends_one_request_with_what_it_was_given(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory", "-f", manifest(tmp_path), "-f", manifest(tmp_path, "failing", "no", 500))
    assert dataplane("invoke", "hello").stdout == "one GET / "
    (tmp_path / "body.json").write_text('{"n":1}')
    done = dataplane("invoke", "hello", "--data", "@body.json", "-H", "X-Sent: yes", "--path", "/p?q=1")
    assert done.stdout == 'one POST /p?q=1 yes{"n":1}'
    assert dataplane("invoke", "hello", "--data", str(tmp_path / "data"), "-d", "text").stdout == "one POST / text"
    failed = dataplane("invoke", "failing")
    assert (failed.returncode, failed.stdout) == (1, "no GET / ")
    assert "error: HTTP 500" in failed.stderr
    assert 'services.serving.knative.dev "gone" not found' in dataplane("invoke", "gone").stderr


def test_logs_come_with_a_prefix_and_follow_the_next_pods(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory", "-f", manifest(tmp_path))
    for path in ("/a", "/b"):
        dataplane("invoke", "hello", "--path", path)
    lines = dataplane("logs", "ksvc/hello").stdout.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["app starts", "asked /a", "asked /b"]
    assert lines[0].startswith("[hello-00001-deployment-")
    pod = dataplane("get", "pods", "-o", "name").stdout.strip()
    assert dataplane("logs", pod, "--tail", "1").stdout == "asked /b\n"
    assert dataplane("logs", pod.removeprefix("pod/"), "--since", "1h").stdout.startswith("app starts\n")


def test_traffic_is_split_tagged_and_shown(up: Up, dataplane: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path))
    assert dataplane("apply", "-f", manifest(tmp_path, text="two"), "--wait").returncode == 0
    done = dataplane("traffic", "hello", "hello-00001=100", "--tag", "hello-00002=next")
    assert done.returncode == 0, done.stderr
    assert _lines(done.stdout)[0][:3] == ["100%", "██████████", "hello-00001"]
    assert program.ask("hello.default.localhost").body.startswith("one")
    assert program.ask("next-hello.default.localhost").body.startswith("two")
    assert dataplane("invoke", "hello", "--tag", "next").stdout.startswith("two")
    assert dataplane("traffic", "hello", "@latest=100", "--untag", "next").returncode == 0
    assert program.ask("hello.default.localhost").body.startswith("two")
    assert program.ask("next-hello.default.localhost").status == 404
    wrong = dataplane("traffic", "hello", "hello-00001=60", "@latest=60")
    assert wrong.returncode == 2
    assert "sum to 120" in wrong.stderr


def test_scale_makes_a_revision_with_the_bounds(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory", "-f", manifest(tmp_path))
    done = dataplane("scale", "hello", "--min", "2", "--max", "3")
    assert done.returncode == 0, done.stderr
    assert "Revision hello-00002 serves." in done.stdout
    rows = _lines(dataplane("get", "rev", "hello-00002").stdout)
    assert rows[1][-1] == "2"
    assert dataplane("scale", "hello", "--min", "2").stdout == "service 'hello' has this scale already\n"
    assert "--min 4 is more than --max 3" in dataplane("scale", "hello", "--min", "4", "--max", "3").stderr


def test_delete_waits_until_it_is_gone(up: Up, dataplane: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path))
    done = dataplane("delete", "-f", manifest(tmp_path))
    assert done.stdout == 'service.serving.knative.dev "hello" deleted\n'
    assert dataplane("get", "ksvc").stdout == ""
    program.until(lambda: program.ask("hello.default.localhost").status == 404)
    assert dataplane("delete", "ksvc", "hello").returncode == 1
    assert dataplane("delete", "ksvc", "hello", "--ignore-not-found").returncode == 0


def test_the_health_and_metrics_of_the_issue_are_there(up: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path))
    assert program.ask("localhost", "/livez", "api").body == "ok"
    assert program.ask("localhost", "/readyz?verbose", "api").body.endswith("readyz check passed\n")
    program.ask("hello.default.localhost")
    text = program.ask("localhost", "/metrics", "api").body
    assert 'kn_revision_pods_desired{k8s_namespace_name="default",kn_service_name="hello"' in text
    assert "dataplane_snapshot_generation " in text


def test_doctor_finds_the_instance_well_and_kubeconfig_is_its_path(up: Up, dataplane: Up, tmp_path: Path) -> None:
    program = up("--in-memory")
    done = dataplane("doctor")
    assert f"++ instance     pid {program.process.pid}, http={program.ready['http']}" in done.stdout
    assert dataplane("kubeconfig").stdout == f"{tmp_path / 'data' / 'kubeconfig'}\n"


def test_completion_offers_the_names_of_services(up: Up, dataplane: Up, tmp_path: Path) -> None:
    up("--in-memory", "-f", manifest(tmp_path))
    done = dataplane(_DATAPLANE_COMPLETE="bash_complete", COMP_WORDS="dataplane traffic he", COMP_CWORD="2")
    assert done.stdout.split() == ["plain,hello"]


def test_the_images_file_beside_the_manifest_is_taken(up: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", str(ROOT / "examples" / "hello"))
    assert program.ask("hello.default.localhost").body == "Hello World!\n"


def test_workers_share_the_port_and_die_with_their_parent(up: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path), "--workers", "2")
    for _ in range(20):
        assert program.ask("hello.default.localhost").body == "one GET / "
    workers = _children(program.process.pid, "gateway")
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    program.until(
        lambda: (
            len(_children(program.process.pid, "gateway")) == 2
            and workers[0] not in _children(program.process.pid, "gateway")
        )
    )
    workers = _children(program.process.pid, "gateway")
    program.process.kill()
    program.process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _pods(dataplane: Up) -> int:
    return len(dataplane("get", "pods", "--no-headers").stdout.splitlines())


def test_a_service_goes_to_zero_and_comes_back_from_zero(up: Up, dataplane: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path, window="6s"))
    program.until(lambda: _pods(dataplane) == 0, 60)
    assert program.ask("hello.default.localhost").body == "one GET / "
    assert _pods(dataplane) == 1


def test_the_hops_run_as_processes_of_their_own_and_wake_a_service_from_zero(
    up: Up, start: Up, dataplane: Up, tmp_path: Path
) -> None:
    stats, activators = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    program = up("--in-memory", "-f", manifest(tmp_path, window="6s"), "--autoscaler", stats, "--activator", activators)
    token = ("--token-file", str(tmp_path / "data" / "token"))
    control = ("--control", program.ready["api"])
    start("autoscaler", "--listen", stats.removeprefix("http://"), *control, *token)
    hop = (*control, *token, "--autoscaler", stats)
    activator = start("activator", "--http", activators.removeprefix("http://"), *hop)
    gateway = start("gateway", "--http", "127.0.0.1:0", "--activator", activators, *hop)
    assert gateway.ask("hello.default.localhost").body == "one GET / "
    program.until(lambda: _pods(dataplane) == 0, 60)
    assert gateway.ask("hello.default.localhost").body == "one GET / "  # through the activator
    assert program.ask("hello.default.localhost").body == "one GET / "
    assert activator.stop() == 0


def test_sidecars_stand_in_front_of_every_pod(up: Up, tmp_path: Path) -> None:
    program = up("--in-memory", "-f", manifest(tmp_path), "--sidecars")
    assert program.ask("hello.default.localhost").body == "one GET / "
    proxies = [
        p
        for p in _descendants(program.process.pid)
        if b"queueproxy" in (Path("/proc") / str(p) / "cmdline").read_bytes()
    ]
    assert len(proxies) == 1
    assert program.stop() == 0
    assert not Path(f"/proc/{proxies[0]}").exists()


def test_get_w_prints_changes_until_ctrl_c_which_is_130(
    up: Up, environ: dict[str, str], dataplane: Up, tmp_path: Path
) -> None:
    up("--in-memory", "-f", manifest(tmp_path))
    watch = subprocess.Popen(
        [sys.executable, "-m", "launch", "get", "ksvc", "-w"],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=tmp_path,
    )
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("NAME")
    assert watch.stdout.readline().startswith("hello ")
    assert dataplane("apply", "-f", manifest(tmp_path, "second")).returncode == 0
    assert watch.stdout.readline().startswith("second")
    watch.send_signal(signal.SIGINT)
    watch.communicate(timeout=20)
    assert watch.returncode == 130


def test_logs_f_goes_on_with_the_pods_of_the_next_revision(
    up: Up, environ: dict[str, str], dataplane: Up, tmp_path: Path
) -> None:
    up("--in-memory", "-f", manifest(tmp_path))
    follow = subprocess.Popen(
        [sys.executable, "-m", "launch", "logs", "-f", "ksvc/hello"],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=tmp_path,
    )
    assert follow.stdout is not None
    assert follow.stdout.readline().endswith("app starts\n")
    assert dataplane("apply", "-f", manifest(tmp_path, text="two"), "--wait").returncode == 0
    dataplane("invoke", "hello", "--path", "/seen")
    lines = [follow.stdout.readline() for _ in range(2)]
    assert all(line.startswith("[hello-00002-") for line in lines)
    assert lines[1].endswith("] asked /seen\n")
    follow.send_signal(signal.SIGINT)
    follow.communicate(timeout=20)
    assert follow.returncode == 130


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                parent = int((one / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(one.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def _children(pid: int, word: str) -> list[int]:
    out = []
    for one in Path("/proc").iterdir():
        if not one.name.isdigit():
            continue
        try:
            parent = int((one / "stat").read_text().rsplit(")", 1)[1].split()[1])
            line = (one / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and word.encode() in line:
            out.append(int(one.name))
    return sorted(out)
