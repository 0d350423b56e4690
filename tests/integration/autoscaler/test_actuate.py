"""Decisions reach the control plane once it can be reached, the newest only, and only from the holder of the lease."""

import asyncio
import contextlib

import pytest

from autoscaler import actuate
from autoscaler.actuate import RemoteScale
from controlplane.scaledesk import ScaleDesk, StaleToken
from controlplane.store.memory import MemoryStore
from dataplane.clock import SYSTEM
from dataplane.net.tasks import Tasks
from dataplane.resources.scaling import Decision, ScaleWrite
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry
from tests.integration.autoscaler.control import KEY, Control, until
from tests.ports import free_port


@contextlib.asynccontextmanager
async def controlled(**options):
    control = await Control(**options).start()
    try:
        yield control
    finally:
        await control.stop()


@contextlib.asynccontextmanager
async def scaling(url, token=""):
    tasks, registry = Tasks("test"), Registry()
    remote = RemoteScale(
        base_url=url, token=Redacted(token), tasks=tasks, loop=asyncio.get_running_loop(), registry=registry
    )
    remote.registry_of_test = registry
    remote.start()
    try:
        yield remote
    finally:
        await tasks.close()


def want(count, key=KEY):
    return Decision(revision=key, want=count)


async def test_a_decision_arrives_under_a_lease():
    async with controlled(token="secret") as control, scaling(control.url, "secret") as remote:
        assert not remote.leading
        remote.put((want(3),))
        await until(lambda: control.wants == [3])
        assert control.writers == [1001]
        assert remote.leading
        assert "dataplane_autoscaler_leading 1\n" in remote.registry_of_test.render()


async def test_an_answer_in_several_pieces_is_read_to_its_end():
    async with controlled() as control, scaling(control.url) as remote:
        control.in_pieces = True
        remote.put((want(3),))
        await until(lambda: control.wants == [3])
        assert control.lease == 1001, "once is enough"


async def test_nothing_is_asked_of_the_control_plane_before_there_is_a_decision():
    async with controlled() as control, scaling(control.url):
        await asyncio.sleep(0.1)
        assert control.lease == 1000


@pytest.mark.parametrize("fault", [500, 503, 429, 0])
async def test_AS_07_errors_are_retried_and_the_newest_decision_wins(fault):
    async with controlled() as control, scaling(control.url) as remote:
        control.faults = [fault, fault]
        remote.put((want(1), want(5, "default/other")))
        await until(lambda: not control.faults or len(control.faults) < 2)
        remote.put((want(2),))
        await until(lambda: {d.revision: d.want for d in control.decisions} == {KEY: 2, "default/other": 5})
        assert "dataplane_autoscaler_scale_errors_total" in remote.registry_of_test.render()


async def test_AS_07_a_slow_control_plane_is_given_up_and_asked_again(monkeypatch):
    monkeypatch.setattr(actuate, "_CALL_S", 1.0)
    async with controlled() as control, scaling(control.url) as remote:
        control.faults = [-1]
        remote.put((want(4),))
        await until(lambda: control.wants == [4])


async def test_AS_07_a_control_plane_that_is_away_gets_everything_when_it_is_back():
    control = await Control().start(free_port())
    async with scaling(control.url) as remote:
        remote.put((want(1), want(5, "default/other")))
        await until(lambda: len(control.wants) == 2)
        await control.stop()
        remote.put((want(2),))
        await asyncio.sleep(0.3)
        back = Control()
        back.lease = 5000  # it has forgotten us and everything that we said
        await back.start(control.port)
        await until(lambda: len(back.wants) >= 2)
        assert {(d.revision, d.want) for d in back.decisions} == {(KEY, 2), ("default/other", 5)}
        assert back.writers[-1] == 5001
        await back.stop()


async def test_AS_06_the_older_of_two_autoscalers_is_refused_and_stands_down(monkeypatch):
    monkeypatch.setattr(actuate, "_STAND_DOWN_FIRST_S", 30.0)
    async with controlled() as control, scaling(control.url) as old, scaling(control.url) as new:
        old.put((want(1),))
        await until(lambda: control.wants == [1])
        new.put((want(2),))
        await until(lambda: control.wants == [1, 2])
        old.put((want(9),))
        await until(lambda: not old.leading)
        new.put((want(3),))
        await until(lambda: control.wants == [1, 2, 3])
        assert control.writers == [1001, 1002, 1002]
        text = old.registry_of_test.render()
        assert "dataplane_autoscaler_leading 0\n" in text
        assert 'dataplane_autoscaler_scale_errors_total{reason="stale"} 1\n' in text


async def test_AS_06_two_that_both_want_the_lease_fight_less_and_less(monkeypatch):
    monkeypatch.setattr(actuate, "_STAND_DOWN_FIRST_S", 0.02)
    async with controlled() as control, scaling(control.url) as one, scaling(control.url) as other:
        for n in range(120):
            one.put((want(n),))
            other.put((want(n),))
            await asyncio.sleep(0.02)
        assert 4 <= control.lease - 1000 <= 24


async def test_AS_06_the_real_desk_accepts_the_newest_lease_only():
    store = MemoryStore()
    desk = ScaleDesk(store=store, clock=SYSTEM, changed=lambda _: None)
    old, new = desk.lease(), desk.lease()
    desk.accept(ScaleWrite(token=new, decisions=(want(1),)))
    with pytest.raises(StaleToken):
        desk.accept(ScaleWrite(token=old, decisions=(want(9),)))
    desk.close()


async def test_many_decisions_go_in_several_writes():
    async with controlled() as control, scaling(control.url) as remote:
        remote.put(tuple(want(n, f"default/r{n}") for n in range(1200)))
        await until(lambda: len(control.wants) == 1200)
        assert len(control.writers) == 3


async def test_a_deleted_revision_is_not_said_again():
    async with controlled() as control, scaling(control.url) as remote:
        remote.put((want(1), want(5, "default/other")))
        await until(lambda: len(control.wants) == 2)
        remote.keep({KEY})
        control.lease += 1  # somebody else, for a moment
        remote.put((want(2),))
        await until(lambda: len(control.wants) == 3)
        assert control.wants == [1, 5, 2]
