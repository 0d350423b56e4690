"""An autoscaler in a process of its own: killed, restarted, and found again by everybody."""

import asyncio
import contextlib
import os
import signal
import sys

import aiohttp
import msgspec

from autoscaler.explain import Explanation
from autoscaler.service import Service
from autoscaler.settings import Settings
from dataplane.clock import SYSTEM
from dataplane.net.tasks import Tasks
from dataplane.runtime.reporting import StatsLink
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry
from dataplane.wire.stats import Stat
from tests.integration.autoscaler.control import KEY, Control, until
from tests.ports import free_port

TOKEN = "secret"

PROGRAM = """
import asyncio, sys
from autoscaler.service import Service
from autoscaler.settings import Settings
from dataplane.clock import SYSTEM
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry

async def main():
    settings = Settings(listen=f"127.0.0.1:{sys.argv[1]}", control=sys.argv[2])
    service = Service(settings=settings, token=Redacted("secret"), loop=asyncio.get_running_loop(), clock=SYSTEM,
                      registry=Registry())
    await service.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def link_to(url):
    tasks = Tasks("test")
    link = StatsLink(url=url, token=Redacted(TOKEN), tasks=tasks, loop=asyncio.get_running_loop(), registry=Registry())
    link.start()
    try:
        yield link
    finally:
        await tasks.close()


@contextlib.asynccontextmanager
async def process(port, control):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(port), control.url, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_stats_in_decisions_out_and_an_explanation():
    control = await Control(token=TOKEN).start()
    service = Service(
        settings=Settings(listen="127.0.0.1:0", control=control.url),
        token=Redacted(TOKEN),
        loop=asyncio.get_running_loop(),
        clock=SYSTEM,
        registry=Registry(),
    )
    assert "no snapshot" in service.not_ready()
    await service.start()
    host, port = service.address
    url = f"http://{host}:{port}"
    async with link_to(url) as link:
        await until(lambda: service.not_ready() == "")
        link.send([Stat(KEY, "gateway", 1.0, 1.0, poke=True)])
        await until(lambda: 1 in control.wants)
        await control.publish(pods=1)
        await until(lambda: control.decisions[-1].active == "True")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/explain/{KEY}") as refused:
                assert refused.status == 401
            session.headers["Authorization"] = f"Bearer {TOKEN}"
            async with session.get(f"{url}/explain/{KEY}") as answer:
                why = msgspec.json.decode(await answer.read(), type=Explanation)
            async with session.get(f"{url}/explain/default/other") as missing:
                assert missing.status == 404
        assert (why.decision.ready, why.decision.active) == (1, "True")
    await service.close()
    await control.stop()


async def test_AS_05_killed_and_restarted_the_autoscaler_scales_again_and_takes_nothing_away():
    control = await Control(token=TOKEN).start()
    port = free_port()
    async with link_to(f"http://127.0.0.1:{port}") as link:
        async with process(port, control) as first:
            link.send([Stat(KEY, "gateway", 1.0, 1.0, poke=True)])
            await until(lambda: 1 in control.wants)
            await control.publish(pods=1)
            first.send_signal(signal.SIGKILL)
            await first.wait()
            await until(lambda: not link.connected)
        control.decisions.clear()
        link.send([Stat(KEY, "gateway", 500.0, 500.0, poke=True)])  # demand while nobody decides
        async with process(port, control):
            await until(lambda: link.connected)
            await until(lambda: any(count >= 1 for count in control.wants))
            assert 0 not in control.wants
            assert control.writers[-1] > 1001  # a new lease
    await control.stop()


async def test_a_control_plane_that_restarts_is_followed_and_told_again():
    control = await Control(token=TOKEN).start(free_port())
    service = Service(
        settings=Settings(listen="127.0.0.1:0", control=control.url),
        token=Redacted(TOKEN),
        loop=asyncio.get_running_loop(),
        clock=SYSTEM,
        registry=Registry(),
    )
    await service.start()
    async with link_to("http://{}:{}".format(*service.address)) as link:
        await until(lambda: service.not_ready() == "")
        link.send([Stat(KEY, "gateway", 1.0, 1.0, poke=True)])
        await until(lambda: 1 in control.wants)
        await control.stop()
        back = Control(token=TOKEN)
        back.lease, back.generation = 5000, 100
        await back.start(control.port)
        link.send([Stat(KEY, "gateway", 1.0, 1.0)])
        await until(lambda: 1 in back.wants)
        assert back.writers[-1] == 5001
        await back.stop()
    await service.close()
