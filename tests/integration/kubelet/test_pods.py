"""Pod objects become processes that serve, and go without losing a request."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from dataplane.resources.core import (
    Container,
    EnvFromSource,
    EnvVar,
    ExecAction,
    HTTPGetAction,
    LocalObjectReference,
    Probe,
    ResourceRequirements,
    SecurityContext,
)

LOOP = "import time\nwhile True: time.sleep(1)"
TELL = """
    import json, os, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    class Tell(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"env": dict(os.environ), "argv": sys.argv[1:], "cwd": os.getcwd()}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *_): pass
    HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Tell).serve_forever()
"""


def teller(node, *args: str, **more: object) -> Container:
    argv = node.program(TELL)
    return node.served(image="x", command=(*argv, *args), **more)


async def test_a_pod_is_ready_when_its_port_answers_and_its_endpoint_is_published_before_its_status(node, fetch):
    key = await node.start(node.served())
    await node.until(lambda: node.endpoints())
    (endpoint,) = node.endpoints()

    assert node.published[-1][0] == "default/hello-00001"
    assert (endpoint.id, endpoint.ready, endpoint.draining, endpoint.sidecar) == (
        *(node.pod(key).metadata.uid, True),
        *(False, False),
    )
    assert await fetch(endpoint.address) == "Hello World!\n"
    pod = await node.ready(key)
    assert pod.metadata.annotations["dataplane.dev/port"] == endpoint.address.rpartition(":")[2]
    assert (pod.status.phase, pod.status.pod_ip) == ("Running", "127.0.0.1")
    assert {c.type: c.status for c in pod.status.conditions} == dict.fromkeys(
        ("PodScheduled", "Initialized", "ContainersReady", "Ready"), "True"
    )
    (container,) = pod.status.container_statuses
    assert (container.ready, container.started, container.restart_count) == (True, True, 0)
    assert container.state.running is not None
    assert container.state.running.started_at


async def test_the_contract_variables_tell_the_truth(node, fetch, config_map):
    await node.put(config_map("settings", COLOUR="blue", PORT="1"))
    container = teller(
        node,
        "--revision=$(K_REVISION)",
        "$$(PORT)",
        "$(UNKNOWN)",
        env=(EnvVar(name="A", value="1"), EnvVar(name="B", value="$(A)-$(COLOUR)-$(PORT)")),
        env_from=(EnvFromSource(config_map_ref=LocalObjectReference(name="settings")),),
    )
    key = await node.start(container)
    await node.ready(key)
    address = node.endpoints()[0].address
    seen = json.loads(await fetch(address))

    port = address.partition(":")[2]
    env = seen["env"]
    assert {name: env[name] for name in ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION", "A", "B", "COLOUR")} == {
        "PORT": port,
        "K_SERVICE": "hello",
        "K_CONFIGURATION": "hello",
        "K_REVISION": "hello-00001",
        "A": "1",
        "B": f"1-blue-{port}",
        "COLOUR": "blue",
    }
    assert env["HOSTNAME"] == key.name
    assert seen["argv"] == ["--revision=hello-00001", "$(PORT)", "$(UNKNOWN)"]
    assert seen["cwd"] == str(node.folder)


async def test_a_missing_reference_waits_with_its_name_and_is_cured_by_its_creation(node, config_map):
    source = EnvFromSource(config_map_ref=LocalObjectReference(name="late"))
    key = await node.start(node.served(env_from=(source,)))
    await node.until(lambda: node.status(key).container_statuses)

    waiting = node.status(key).container_statuses[0].state.waiting
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", 'configmap "late" not found')

    await node.put(config_map("late", A="1"))
    await node.ready(key)


async def test_an_image_without_a_program_says_what_to_do(node):
    key = await node.start(node.served(image="ghcr.io/nobody/nothing"))
    await node.until(lambda: node.status(key).container_statuses)
    waiting = node.status(key).container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "ContainerMissing"
    assert waiting.message.startswith('Unable to fetch image "ghcr.io/nobody/nothing": ')
    assert "command" in waiting.message
    assert "--images FILE" in waiting.message

    await node.remove(key)
    await node.gone(key)


async def test_a_pod_that_leaves_is_drained_first_and_its_object_goes_last(node):
    key = await node.start(node.served())
    uid = (await node.ready(key)).metadata.uid
    node.in_flight[uid] = 1

    await node.remove(key)
    await node.until(lambda: [(one.ready, one.draining) for one in node.endpoints()] == [(False, True)])
    await node.until(lambda: not node.is_ready(key))
    await asyncio.sleep(0.2)
    assert node.status(key).container_statuses[0].state.running is not None
    assert len(node.endpoints()) == 1

    node.in_flight[uid] = 0
    await node.gone(key)
    assert node.endpoints() == ()


async def test_a_drain_ends_with_the_grace_period(node):
    key = await node.start(node.served())
    node.in_flight[(await node.ready(key)).metadata.uid] = 1
    await node.remove(key, grace_s=1)
    await node.gone(key)


async def test_a_pod_that_nobody_counts_for_drains_for_a_fixed_time(node):
    key = await node.start(node.served())
    node.in_flight[(await node.ready(key)).metadata.uid] = None
    await node.remove(key)
    await node.gone(key)


async def test_an_object_that_is_removed_by_force_takes_its_processes_along(node):
    key = await node.start(node.served())
    await node.ready(key)
    await node.delete("Pod", key.name)
    await node.until(lambda: not node.kubelet.pods() and not node.driver.reports())
    assert node.endpoints() == ()


async def test_a_pod_whose_supervisor_died_has_failed(node):
    key = await node.start(node.served())
    await node.ready(key)
    os.kill(node.driver.nursery_pid, 9)
    await node.until(lambda: node.status(key).phase == "Failed")
    assert node.endpoints() == ()
    again = await node.start(node.served())
    await node.ready(again)
    await node.remove(key)
    await node.gone(key)


async def test_http_readiness_takes_200_to_399_with_its_headers(node):
    app = node.program("""
        import os
        from http.server import BaseHTTPRequestHandler, HTTPServer
        class App(BaseHTTPRequestHandler):
            def do_GET(self):
                with open("seen", "a") as seen:
                    print(self.path, self.headers["X-Probe"], self.headers["User-Agent"], file=seen)
                moved = self.path == "/ready"
                self.send_response(302 if moved else 204 if os.path.exists("go") else 500)
                if moved:
                    self.send_header("Location", "/really")
                self.end_headers()
            def log_message(self, *_): pass
        HTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
    """)
    from dataplane.resources.core import HTTPHeader

    action = HTTPGetAction(path="/ready", http_headers=(HTTPHeader(name="X-Probe", value="yes"),))
    key = await node.start(node.served(image="x", command=app, readiness_probe=Probe(http_get=action)))
    await node.until(lambda: (node.folder / "seen").exists())
    await asyncio.sleep(0.2)
    assert not node.is_ready(key)

    (node.folder / "go").touch()
    await node.ready(key)

    lines = set((node.folder / "seen").read_text().splitlines())
    assert lines == {"/ready yes kube-probe/1.0", "/really yes kube-probe/1.0"}


async def test_exec_readiness_runs_in_the_container(node):
    probe = Probe(exec=ExecAction(command=("test", "-e", "go")))
    key = await node.start(node.served(readiness_probe=probe))
    await asyncio.sleep(0.3)
    assert not node.is_ready(key)
    (node.folder / "go").touch()
    await node.ready(key)


async def test_a_liveness_probe_restarts_the_container_and_readiness_blips(node):
    probe = Probe(exec=ExecAction(command=("test", "!", "-e", "sick")), period_seconds=1, failure_threshold=1)
    key = await node.start(node.served(liveness_probe=probe))
    await node.ready(key)

    (node.folder / "sick").touch()
    await node.until(lambda: node.status(key).container_statuses[0].restart_count == 1)
    (node.folder / "sick").unlink()
    await node.ready(key)

    last = node.status(key).container_statuses[0].last_state.terminated
    assert last is not None
    assert last.exit_code in (0, 143)
    assert any(e[0].ready is False and not e[0].draining for _, e in node.published if e)
    await node.until(lambda: "Unhealthy" in node.events(key))
    message = node.events(key)["Unhealthy"].message
    assert message == "Liveness probe failed: command 'test' exited with 1"


async def test_readiness_waits_for_startup_and_for_every_container(node):
    startup = Probe(exec=ExecAction(command=("test", "-e", "up")), period_seconds=1, failure_threshold=30)
    beside = Container(name="beside", image="x", command=node.program(LOOP))
    slow = Probe(exec=ExecAction(command=("test", "-e", "beside-up")), period_seconds=1)
    key = await node.start(node.served(startup_probe=startup), replace(beside, readiness_probe=slow))
    await node.until(lambda: [c.started for c in node.status(key).container_statuses] == [False, True])
    await asyncio.sleep(0.3)
    assert [c.started for c in node.status(key).container_statuses] == [False, True]

    (node.folder / "up").touch()
    await node.until(lambda: node.status(key).container_statuses[0].ready)
    assert not node.is_ready(key)
    assert not node.endpoints()

    (node.folder / "beside-up").touch()
    await node.ready(key)
    assert node.endpoints()[0].ready


async def test_a_crashing_container_says_how_it_ended(node):
    crash = node.program("import sys; print('cannot open the database'); sys.exit(3)")
    key = await node.start(node.served(image="x", command=crash))
    await node.until(
        lambda: (
            (s := node.status(key).container_statuses)
            and s[0].state.waiting
            and s[0].state.waiting.reason == "CrashLoopBackOff"
        )
    )
    (container,) = node.status(key).container_statuses
    assert container.last_state.terminated is not None
    assert container.last_state.terminated.exit_code == 3
    assert container.last_state.terminated.reason == "Error"
    assert container.last_state.terminated.message == "cannot open the database"
    await node.until(lambda: "BackOff" in node.events(key))
    assert node.events(key)["BackOff"].type == "Warning"
    assert await node.log(key, previous=True) == "cannot open the database\n"


async def test_init_containers_run_first(node):
    init = Container(name="prepare", image="x", command=("sh", "-c", "sleep 0.2; echo done > prepared"))
    key = await node.start(teller(node), init_containers=(init,))
    await node.until(lambda: node.status(key).init_container_statuses)
    assert node.status(key).phase == "Pending"
    await node.ready(key)
    assert (node.folder / "prepared").read_text() == "done\n"
    ended = node.status(key).init_container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (0, "Completed")


async def test_repeated_events_are_counted(node):
    crash = node.program("raise SystemExit(1)")
    key = await node.start(node.served(image="x", command=crash))
    await node.until(lambda: node.status(key).container_statuses and "BackOff" in node.events(key))
    await node.until(lambda: node.events(key)["BackOff"].count >= 2)
    assert node.events(key)["Started"].source.component == "kubelet"


@pytest.mark.parametrize("listens", [False, True], ids=["bound", "listening"])
async def test_LP_03_a_port_that_a_stranger_took_leads_to_another_port(node, listens):
    app = node.program("""
        import os, socket, time
        listener = socket.socket()
        listener.bind(("127.0.0.1", int(os.environ["PORT"])))
        listener.listen()
        while True:
            time.sleep(1)
    """)
    with socket.socket() as stranger:
        key = await node.start(node.served(image="x", command=app))
        # between the choice of the port and the bind of the app: after `begin`, before the process has started
        while not (started := node.driver.started):
            await asyncio.sleep(0)
        port = int(started[0].containers[0].env["PORT"])
        stranger.bind(("127.0.0.1", port))
        if listens:
            stranger.listen()

        await node.until(lambda: node.endpoints() and node.endpoints()[0].address != f"127.0.0.1:{port}")
        pod = await node.ready(key)

        assert pod.metadata.annotations["dataplane.dev/port"] != str(port)
        await node.until(lambda: "PortClash" in node.events(key))
        assert node.driver.started[-1].ports != (port,)


async def test_LP_03_two_pods_never_get_the_same_port(node):
    keys = [await node.start(node.served()) for _ in range(8)]
    for key in keys:
        await node.ready(key)
    addresses = {e.address for e in node.endpoints()}
    assert len(addresses) == 8


async def test_a_user_that_cannot_be_honoured_is_refused(node):
    container = node.served(security_context=SecurityContext(run_as_non_root=True))
    if os.geteuid() != 0:
        container = node.served(security_context=SecurityContext(run_as_user=os.getuid() + 1))
    key = await node.start(container)
    await node.until(lambda: node.status(key).container_statuses)
    waiting = node.status(key).container_statuses[0].state.waiting
    assert waiting is not None
    assert waiting.reason == "CreateContainerConfigError"


async def test_limits_reach_the_process(node):
    script = "import resource; print(resource.getrlimit(resource.RLIMIT_FSIZE)[0], flush=True)\n" + LOOP
    program = node.folder / "limits.py"
    program.write_text(script)
    container = Container(
        name="main",
        image="x",
        command=(sys.executable, str(program)),
        resources=ResourceRequirements(limits={"ephemeral-storage": "1Mi", "memory": "64Mi", "cpu": "100m"}),
    )
    key = await node.start(replace(container, ports=()), labels={})
    await node.until(lambda: (node.folder / f"data/logs/default/{key.name}/main.log").exists())

    async def shown() -> str:
        return await node.log(key, "main")

    while not await shown():
        await asyncio.sleep(0.01)
    assert await shown() == "1048576\n"


async def test_a_python_application_needs_no_command(node, fetch):
    (node.folder / "shop.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'wsgi']\n"
    )
    key = await node.start(node.served(image="python://shop:app"))
    await node.ready(key)
    assert await fetch(node.endpoints()[0].address) == "wsgi"


async def test_a_knative_function_needs_no_command(node, fetch):
    (node.folder / "func.py").write_text(
        "async def handle(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'function'})\n"
    )
    key = await node.start(node.served(image="python://func"))
    await node.ready(key)
    assert "function" in await fetch(node.endpoints()[0].address)


async def test_closing_leaves_no_process(node):
    keys = [await node.start(node.served()) for _ in range(3)]
    for key in keys:
        await node.ready(key)
    pids = [int(s.container_id.removeprefix("process://")) for k in keys for s in node.status(k).container_statuses]
    await node.kubelet.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("node", [{"drain_s": 1.5}], indirect=True)
async def test_a_count_that_gets_lost_in_mid_drain_starts_the_fixed_time_anew(node):
    key = await node.start(node.served())
    uid = (await node.ready(key)).metadata.uid
    node.in_flight[uid] = 1
    await node.remove(key, grace_s=30)
    await asyncio.sleep(1.8)  # longer than the fixed time
    node.in_flight[uid] = None  # a hop has connected again and said nothing yet
    await asyncio.sleep(0.2)  # much less than it: a busy machine may be late
    node.in_flight[uid] = 1
    await asyncio.sleep(0.3)
    assert node.status(key).container_statuses[0].state.running is not None
    node.in_flight[uid] = 0
    await node.gone(key)
