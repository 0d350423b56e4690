"""LP-01: whoever dies, the driver or its nursery, and however, no container outlives them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid

from controlplane.drivers.nursery.family import children

HOST = """
import asyncio, json, sys, time
from controlplane.drivers.contract import ContainerSpec, PodProcess
from controlplane.drivers.process import DriverSettings, ProcessDriver
from dataplane.clock import SYSTEM
from dataplane.telemetry.metrics import Registry

async def main(instance, program):
    driver = ProcessDriver(clock=SYSTEM, registry=Registry(), settings=DriverSettings(instance=instance, cgroups=False))
    running = asyncio.Event()
    def heard(report):
        if report.containers[0].state == "running":
            running.set()
    await driver.open(heard)
    spec = ContainerSpec(name="main", argv=(sys.executable, "-I", "-S", program), env={"PATH": "/usr/bin:/bin"})
    driver.start(PodProcess(uid="u", name="p", namespace="d", containers=(spec,)))
    await running.wait()
    print(json.dumps({"nursery": driver.nursery_pid}), flush=True)
    await asyncio.sleep(1000)

asyncio.run(main(*sys.argv[1:]))
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
time.sleep(1000)
"""


def marked(instance: str) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                environ = file.read()
            with open(f"/proc/{name}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if f"DATAPLANE_CONTAINER={instance}/".encode() in environ and state != "Z":
            found.append(int(name))
    return found


async def _host(tmp_path, instance: str) -> tuple[subprocess.Popen, int]:
    program = tmp_path / "stubborn.py"
    program.write_text(STUBBORN)
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, instance, str(program)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert host.stdout is not None
    line = await asyncio.to_thread(host.stdout.readline)
    return host, json.loads(line)["nursery"]


async def test_LP_01_kill_9_of_the_driver_leaves_no_container(tmp_path, settled):
    instance = f"test-{uuid.uuid4().hex[:8]}"
    host, nursery = await _host(tmp_path, instance)
    await settled(lambda: len(marked(instance)) == 2)

    host.kill()
    host.communicate()

    await settled(lambda: not marked(instance))
    await settled(lambda: not os.path.exists(f"/proc/{nursery}"))


async def test_LP_01_kill_9_of_the_nursery_ends_its_containers_and_starts_another(bench, settled):
    uid = bench.start(bench.container(*bench.program(STUBBORN)))
    await bench.running(uid)
    first = bench.driver.nursery_pid
    await settled(lambda: len(bench.processes()) == 2)

    os.kill(first, signal.SIGKILL)
    report = await bench.gone(uid)

    assert (report.containers[0].exit_code, report.containers[0].state) == (137, "terminated")
    again = bench.start(bench.container("sleep", "1000"))
    await bench.running(again)
    assert bench.driver.nursery_pid != first
    await settled(lambda: len(bench.processes()) == 1)  # the daemon that ran away was swept by the new nursery
    assert children(bench.driver.nursery_pid) == bench.processes()


async def test_LP_01_kill_9_of_both_is_swept_by_the_next_run_on_the_same_data(tmp_path, settled):
    instance = f"test-{uuid.uuid4().hex[:8]}"
    host, nursery = await _host(tmp_path, instance)
    await settled(lambda: len(marked(instance)) == 2)

    host.kill()
    os.kill(nursery, signal.SIGKILL)
    host.communicate()
    await settled(lambda: len(marked(instance)) <= 1)
    second, _ = await _host(tmp_path, instance)
    try:
        await settled(lambda: len(marked(instance)) == 2)
    finally:
        second.kill()
        second.communicate()
    await settled(lambda: not marked(instance))


async def test_LP_01_closing_the_driver_stops_within_the_grace_period_and_leaves_nothing(bench):
    polite = bench.program("""
        import signal, sys, time
        def bye(*_):
            print("bye", flush=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, bye)
        print("up", flush=True)
        while True: time.sleep(1)
    """)
    container = bench.container(*polite)
    uid = bench.start(container)
    await bench.running(uid)
    while "up" not in open(container.log_path).read():
        await asyncio.sleep(0.01)
    nursery = bench.driver.nursery_pid

    await bench.driver.close()

    last = await bench.gone(uid)
    assert (last.containers[0].exit_code, last.containers[0].reason) == (0, "Completed")
    assert "bye" in open(container.log_path).read()
    assert not os.path.exists(f"/proc/{nursery}")
