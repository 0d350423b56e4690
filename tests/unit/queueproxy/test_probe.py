"""Aggressive readiness in virtual time: the ten seconds of §16.11."""

import asyncio

from dataplane.net.tasks import Tasks
from dataplane.testing.clock import VirtualTimeLoop
from queueproxy.checks import Check
from queueproxy.probe import Readiness


class Deaf(VirtualTimeLoop):
    """Nothing listens; connects are refused until `opens`, or hang when `hangs`."""

    def __init__(self) -> None:
        super().__init__()
        self.tries: list[float] = []
        self.opens = float("inf")
        self.hangs = False

    async def create_connection(self, factory, host=None, port=None, **options):
        self.tries.append(self.time())
        if self.hangs:
            await asyncio.sleep(3600)
        if self.time() < self.opens:
            raise ConnectionRefusedError(111, "Connection refused")
        return asyncio.Transport(), factory()


class Asker:
    def __init__(self, loop) -> None:
        self.loop = loop
        self.came = asyncio.Event()

    def on_readiness(self, why_not):
        self.answer = (why_not, round(self.loop.time(), 3))
        self.came.set()


def run(script):
    with asyncio.Runner(loop_factory=Deaf) as runner:
        return runner.run(script(runner.get_loop()))


async def ask(loop, readiness):
    asker = Asker(loop)
    readiness.ask(asker)
    await asker.came.wait()
    return asker.answer


def test_an_app_that_never_listens_is_given_ten_seconds():
    async def script(loop):
        readiness = Readiness(checks=[Check(port=1)], loop=loop, tasks=Tasks("t"))
        return await ask(loop, readiness), len(loop.tries)

    (why_not, at_s), tries = run(script)
    assert why_not == "[Errno 111] Connection refused"
    assert at_s == 10.0
    assert 200 <= tries <= 201


def test_a_try_is_given_a_tenth_of_a_second():
    async def script(loop):
        loop.hangs = True
        readiness = Readiness(checks=[Check(port=1)], loop=loop, tasks=Tasks("t"))
        return await ask(loop, readiness), loop.tries[:3]

    (why_not, at_s), tries = run(script)
    assert (why_not, at_s) == ("no answer within 0.1 s", 10.0)
    assert [round(t, 3) for t in tries] == [0, 0.15, 0.3]


def test_one_that_joins_a_run_gets_its_end():
    async def script(loop):
        readiness = Readiness(checks=[Check(port=1)], loop=loop, tasks=Tasks("t"))
        first = loop.create_task(ask(loop, readiness))
        await asyncio.sleep(7)
        return await ask(loop, readiness), await first

    (_, joined_s), (_, first_s) = run(script)
    assert joined_s == first_s == 10.0


def test_a_patient_check_is_tried_once():
    async def script(loop):
        readiness = Readiness(checks=[Check(port=1, aggressive=False, timeout_s=3.0)], loop=loop, tasks=Tasks("t"))
        return await ask(loop, readiness), len(loop.tries)

    (_, at_s), tries = run(script)
    assert (at_s, tries) == (0.0, 1)
