"""What people see of `dataplane up`: rows kept from changes, one line for each thing that happened."""

import asyncio
import logging

from msgspec.structs import replace

from controlplane.store.contract import Delete, Key, Put
from controlplane.store.memory import MemoryStore
from dataplane.resources.core import Pod, PodStatus
from dataplane.resources.meta import Condition, ObjectMeta
from dataplane.resources.serving import GROUP, Service, ServiceStatus
from launch.live import LINES_MAX, PlainLines, Rows, Status

READY = (Condition(type="Ready", status="True"),)
FAILED = (Condition(type="Ready", status="False", reason="RevisionMissing", message="no revision"),)


def service(name: str, *, conditions=()) -> Service:
    status = ServiceStatus(url=f"http://{name}.default.localhost", conditions=conditions)
    return Service(metadata=ObjectMeta(name=name, namespace="default"), status=status)


def pod(name: str, of: str, *, ready: bool = True) -> Pod:
    labels = {"serving.knative.dev/service": of}
    status = PodStatus(conditions=READY if ready else ())
    return Pod(metadata=ObjectMeta(name=name, namespace="default", labels=labels), status=status)


def key(one) -> Key:
    group, kind = (GROUP, "Service") if isinstance(one, Service) else ("", "Pod")
    return Key(group, kind, "default", one.metadata.name)


def rows(*objects) -> Rows:
    found = Rows(MemoryStore())
    for one in objects:
        found.note(key(one), one)
    return found


def test_a_row_says_whether_the_service_is_ready_where_and_how_many_pods_serve():
    found = rows(service("web", conditions=READY), pod("a", "web"), pod("b", "web"), pod("c", "web", ready=False))
    assert found.row("default/web") == ("++", "http://web.default.localhost", "", 2)
    found.note(key(service("web")), service("web", conditions=FAILED))
    assert found.row("default/web") == ("!!", "http://web.default.localhost", "no revision", 2)


def test_a_pod_that_leaves_or_is_gone_does_not_count():
    found = rows(service("web"), pod("a", "web"), pod("b", "web"))
    leaving = pod("a", "web")
    leaving = replace(leaving, metadata=replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    found.note(key(leaving), leaving)
    assert found.row("default/web").pods == 1
    found.note(key(pod("b", "web")), None)
    assert found.row("default/web").pods == 0


def test_each_thing_that_happened_is_one_line(caplog):
    caplog.set_level(logging.INFO)
    found, lines = rows(service("web"), service("other", conditions=READY)), PlainLines()

    def said() -> list[str]:
        caplog.clear()
        lines.show(found)
        return [record.getMessage() for record in caplog.records]

    assert said() == ["service_ready name=default/other url=http://other.default.localhost"]
    assert said() == []
    found.note(key(service("web")), service("web", conditions=FAILED))
    assert said() == ["service_failed name=default/web reason=no revision"]
    found.note(key(pod("a", "web")), pod("a", "web"))
    assert said() == []
    found.note(key(service("web")), None)
    assert said() == ["service_gone name=default/web"]


async def test_what_did_not_change_is_not_looked_at_again(monkeypatch):
    store = MemoryStore()
    await store.commit([Put(key(one), one, "") for one in (service(f"s{n}") for n in range(50))])
    status = Status(store=store, title="", stream=None, loop=asyncio.get_running_loop())
    looked = []
    row = Rows.row
    monkeypatch.setattr(Rows, "row", lambda self, name: looked.append(name) or row(self, name))
    await store.commit([Put(key(service("s7")), service("s7", conditions=READY), None), Delete(key(service("s9")))])
    while status._timer is not None:
        await asyncio.sleep(0.01)
    assert looked == ["default/s7", "default/s9"]
    await status.close()


async def test_a_thousand_services_that_become_ready_together_are_told_a_few_at_a_time(caplog):
    caplog.set_level(logging.INFO)
    store = MemoryStore()
    status = Status(store=store, title="", stream=None, loop=asyncio.get_running_loop())
    await store.commit([Put(key(one), one, "") for one in (service(f"s{n}", conditions=READY) for n in range(250))])
    told = []
    while status._timer is not None:
        before = len(caplog.records)
        await asyncio.sleep(0.02)
        told.append(len(caplog.records) - before)
    assert sum(told) == 250
    assert max(told) <= LINES_MAX
    await status.close()
