"""A world for reconcilers: a memory store, facts that a test sets, and a kubelet of three lines."""

import itertools
import random
from typing import Any

import msgspec
import pytest

from controlplane.admission.admit import admit
from controlplane.knative_config import KnativeConfig
from controlplane.reconcile.controllers import CONTROLLERS
from controlplane.reconcile.naming import suffixes
from controlplane.reconcile.outcome import Outcome, born, key_for, key_of
from controlplane.reconcile.view import Facts, Programmed, View
from controlplane.store.contract import Delete, Key, Put
from controlplane.store.memory import MemoryStore
from controlplane.strict import decode
from dataplane.resources import core, serving
from dataplane.resources.kinds import KINDS
from dataplane.resources.meta import Condition, ObjectMeta, Resource, condition
from dataplane.resources.scaling import Decision
from dataplane.resources.triggers import Reported

replace = msgspec.structs.replace


class World:
    """`settle` reconciles everything until nothing changes; `look` runs one controller on one object."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.config = KnativeConfig()
        self.decisions: dict[str, Decision] = {}
        self.flights: dict[str, int] = {}
        self.programmed: dict[str, Programmed] = {}
        self.hops_follow = True
        self.reported: dict[tuple[str, str], Reported] = {}
        self.now = 1_700_000_000.0
        self.events: list[tuple[str, str]] = []
        self._uids = itertools.count(1)
        facts = Facts(
            config=lambda: self.config,
            programmed=self._programmed,
            decision=self.decisions.get,
            in_flight=self.flights.get,
            suffix=suffixes(random.Random(1)),
            url_port=8080,
            broker_url="http://127.0.0.1:8082",
            reported=lambda kind, key: self.reported.get((kind, key)),
        )
        self.view = View(self.store, facts)
        self.view.open()
        self.store.watch(self.view.note)

    # objects

    def put(self, one: Resource) -> Any:
        """As the API does: uid, generation, no expectation."""
        key = key_of(one)
        before = self.store.get(key)
        if before is None:
            one = born(one, f"uid-{next(self._uids)}", self.now)
        else:
            generation = before.metadata.generation
            if getattr(before, "spec", None) != getattr(one, "spec", None):
                generation += 1
            one = replace(one, metadata=replace(one.metadata, uid=before.metadata.uid, generation=generation))
        return self._commit([Put(key, one, None)])[0]

    def service(self, name: str = "hello", *, traffic: Any = None, template: Any = None, **meta: Any) -> Any:
        old = self.get(serving.Service, name)
        targets = traffic if traffic is not None else [{"latestRevision": True, "percent": 100}]
        pod = {"containers": [{"name": "user-container", "image": "demo://hello"}], "timeoutSeconds": 300}
        body = {"template": template or {"spec": pod}, "traffic": targets}
        spec = msgspec.convert(body, serving.ServiceSpec)
        metadata = ObjectMeta(name=name, namespace="default", **meta)
        if old is not None:
            return self.put(replace(old, spec=spec, metadata=replace(old.metadata, **meta)))
        return self.put(serving.Service(metadata=metadata, spec=spec))

    def retemplate(self, name: str = "hello", **template: Any) -> Any:
        """Another image: another generation of the Configuration."""
        service = self.need(serving.Service, name)
        image = f"demo://hello?{service.metadata.generation}"
        container = replace(service.spec.template.spec.containers[0], image=image)
        spec = replace(service.spec.template.spec, containers=(container,))
        changed = replace(service.spec.template, spec=spec, **template)
        return self.put(replace(service, spec=replace(service.spec, template=changed)))

    def retraffic(self, *targets: dict[str, Any], name: str = "hello") -> Any:
        service = self.need(serving.Service, name)
        traffic = tuple(msgspec.convert(target, serving.TrafficTarget) for target in targets)
        return self.put(replace(service, spec=replace(service.spec, traffic=traffic)))

    def apply(self, kind: str, name: str, *, metadata: Any = None, **fields: Any) -> Any:
        """A Broker, Trigger or ConfigMap as a user applies it: strictly decoded, defaulted, checked."""
        info = next(one for one in KINDS if one.kind == kind)
        meta = {"name": name, "namespace": "default", **(metadata or {})}
        one, faults = decode(info.struct, {"metadata": meta, **fields})
        assert one is not None, faults
        old = self.store.get(key_of(one))
        if old is not None and info.status:
            one = replace(one, status=old.status)
        admitted = admit(one, old, config=self.config, user="alice")
        assert not faults, faults
        assert not admitted.errors, admitted.errors
        return self.put(admitted.object)

    def broker(self, name: str = "default", *, delivery: Any = None, config: Any = None, **annotations: str) -> Any:
        """`class_`: its class. `config`: name of a ConfigMap."""
        notes = {"eventing.knative.dev/broker.class": annotations["class_"]} if "class_" in annotations else {}
        spec: dict[str, Any] = {} if delivery is None else {"delivery": delivery}
        if config is not None:
            spec["config"] = {"apiVersion": "v1", "kind": "ConfigMap", "name": config}
        return self.apply("Broker", name, metadata={"annotations": notes}, spec=spec)

    def trigger(self, name: str = "t", *, annotations: Any = None, **spec: Any) -> Any:
        full = {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:9000/"}, **spec}
        return self.apply("Trigger", name, metadata={"annotations": annotations or {}}, spec=full)

    def report(self, kind: str, name: str, *, ready: bool = True, **said: Any) -> None:
        """A broker process says so."""
        uid = self.store.get(Key("eventing.knative.dev", kind.capitalize(), "default", name)).metadata.uid
        key = f"default/{name}"
        self.reported[kind, key] = Reported(**{"kind": kind, "key": key, "uid": uid, "ready": ready, **said})

    def delete(self, struct: type[Resource], name: str) -> None:
        self._commit([Delete(key_for(struct, "default", name))])

    def get(self, struct: type[Any], name: str) -> Any:
        return self.view.find(struct, "default", name)

    def need(self, struct: type[Any], name: str) -> Any:
        found = self.get(struct, name)
        assert found is not None, f"no {struct.__name__} {name}"
        return found

    def all(self, struct: type[Any]) -> list[Any]:
        return self.store.objects(*key_for(struct, "", "")[:2])

    def state(self, struct: type[Any], name: str, type_: str = "Ready") -> tuple[str, str]:
        found = condition(self.need(struct, name).status.conditions, type_)
        return (found.status, found.reason) if found else ("", "")

    def message(self, struct: type[Any], name: str, type_: str = "Ready") -> str:
        found = condition(self.need(struct, name).status.conditions, type_)
        return found.message if found else ""

    # reconciling

    def look(self, controller: str, struct: type[Any], name: str) -> Outcome:
        (found,) = [one for one in CONTROLLERS if one.name == controller]
        outcome = found.reconcile(key_for(struct, "default", name), self.view, self.now)
        self.execute(outcome)
        return outcome

    def execute(self, outcome: Outcome) -> None:
        self.events += [(note.reason, note.message) for note in outcome.events]
        writes = []
        for write in outcome.writes:
            if isinstance(write, Put) and not write.object.metadata.uid:
                write = write._replace(object=born(write.object, f"uid-{next(self._uids)}", self.now))
            writes.append(write)
        self._commit(writes)

    def settle(self) -> None:
        for _ in range(60):
            before = self.store.revision
            for controller in CONTROLLERS:
                for key in self.view.all_keys():
                    if controller.kind is None or key[:2] == key_for(controller.kind, "", "")[:2]:
                        self.execute(controller.reconcile(key, self.view, self.now))
            for key in self.view.routing():
                self.look("labeler", serving.Route, key.name)
            if self.store.revision == before:
                return
        raise AssertionError("the reconcilers do not come to rest")

    # the kubelet

    def pods(self, revision: str = "", *, leaving: bool = False) -> list[Any]:
        found = [pod for pod in self.all(core.Pod) if bool(pod.metadata.deletion_timestamp) == leaving]
        label = "serving.knative.dev/revision"
        return [pod for pod in found if not revision or pod.metadata.labels[label] == revision]

    def pods_become_ready(self, revision: str = "") -> None:
        for pod in self.pods(revision):
            self.pod_becomes(pod, ready=True)

    def pod_becomes(self, pod: Any, *, ready: bool = False, phase: str = "Running", **status: Any) -> Any:
        containers = (core.ContainerStatus(name="user-container", ready=ready, **status),) if status else ()
        conditions = (Condition(type="Ready", status="True" if ready else "False"),)
        return self.put(
            replace(pod, status=core.PodStatus(phase=phase, conditions=conditions, container_statuses=containers))
        )

    def pods_crash(self, code: int = 1, message: str = "boom") -> None:
        ended = core.ContainerState(terminated=core.ContainerStateTerminated(exit_code=code, message=message))
        for pod in self.pods():
            self.pod_becomes(pod, last_state=ended)

    def pods_wait(self, reason: str, message: str = "") -> None:
        waiting = core.ContainerState(waiting=core.ContainerStateWaiting(reason=reason, message=message))
        for pod in self.pods():
            self.pod_becomes(pod, state=waiting)

    def drained(self) -> None:
        self._commit([Delete(key_of(pod)) for pod in self.pods(leaving=True)])

    def deployed(self, name: str = "hello", **meta: Any) -> None:
        """A Service with one ready revision."""
        self.service(name, **meta)
        self.settle()
        self.pods_become_ready()
        self.settle()

    def decide(self, revision: str, want: int, **more: Any) -> None:
        key = f"default/{revision}"
        self.decisions[key] = Decision(revision=key, want=want, **more)

    def _programmed(self, route: str) -> Programmed | None:
        from controlplane import compile as compiled

        found = self.get(serving.Route, route.partition("/")[2])
        if route in self.programmed or not self.hops_follow or found is None or not found.status.traffic:
            return self.programmed.get(route)
        return Programmed(compiled.route(found, found.status.traffic, self.config).hash, settled=True)

    def _commit(self, writes: list[Any]) -> list[Any]:
        coroutine = self.store.commit(writes)
        try:
            coroutine.send(None)
        except StopIteration as done:
            return list(done.value)
        raise AssertionError("the memory store waited")


@pytest.fixture
def world() -> World:
    return World()
