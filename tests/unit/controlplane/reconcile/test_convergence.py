"""CP-07: level-triggered. Random order, duplicates and drops of notifications lead to the same final state."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controlplane.reconcile.controllers import CONTROLLERS
from controlplane.reconcile.loop import ControlLoop
from controlplane.reconcile.outcome import key_for
from controlplane.store.contract import Change
from dataplane.clock import Clock
from dataplane.resources import core, serving
from dataplane.resources.serving import Revision, Service
from dataplane.testing.clock import VirtualTimeLoop

NAMES = ("hello", "other")
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["deploy", "retemplate", "split", "tag", "ready", "crash", "zero", "three", "delete", "drain"]),
        st.sampled_from(NAMES),
    ),
    min_size=1,
    max_size=10,
)

# The Route has failed for the first revision when the second one appears (found once, in both ways of looking).
STALE_VERDICT = example(operations=[("deploy", "hello"), ("crash", "hello"), ("retemplate", "hello")], seed=0)


def operate(world: Any, operation: str, name: str) -> None:
    service = world.get(Service, name)
    revisions = [r.metadata.name for r in world.all(Revision) if r.metadata.name.startswith(name)]
    if operation == "deploy" and service is None:
        world.service(name)
    elif operation == "retemplate" and service is not None:
        world.retemplate(name)
    elif operation == "split" and service is not None and revisions:
        world.retraffic(
            {"revisionName": revisions[0], "percent": 30}, {"latestRevision": True, "percent": 70}, name=name
        )
    elif operation == "tag" and service is not None and revisions:
        world.retraffic(
            {"latestRevision": True, "percent": 100}, {"revisionName": revisions[0], "tag": "old"}, name=name
        )
    elif operation == "ready":
        world.pods_become_ready()
    elif operation == "crash":
        world.pods_crash()
    elif operation in ("zero", "three"):
        for revision in revisions:
            world.decide(revision, 0 if operation == "zero" else 3, active="False" if operation == "zero" else "True")
    elif operation == "delete" and service is not None:
        world.delete(Service, name)
    elif operation == "drain":
        world.drained()


def picture(world: Any) -> Any:
    """Everything that lasts, without identities, versions and times."""
    kinds = (Service, serving.Configuration, serving.Route, Revision, serving.PodAutoscaler)
    out: list[Any] = []
    for one in itertools.chain.from_iterable(world.all(kind) for kind in kinds):
        body = msgspec.to_builtins(one)
        meta = body["metadata"]
        labels = {k: v for k, v in meta.get("labels", {}).items() if "UID" not in k}
        annotations = {k: v for k, v in meta.get("annotations", {}).items() if "Modified" not in k}
        status = body.get("status", {})
        status.pop("decision", None)
        if isinstance(one, serving.PodAutoscaler):
            status.pop("observedGeneration", None)
        for found in status.get("conditions", ()):
            found.pop("lastTransitionTime", None)
        owners = [ref["name"] for ref in meta.get("ownerReferences", ())]
        out.append((type(one).__name__, meta["name"], labels, annotations, owners, body.get("spec"), status))
    pods: dict[Any, int] = {}
    for pod in world.all(core.Pod):
        key = (pod.metadata.labels["app"], bool(pod.metadata.deletion_timestamp))
        pods[key] = pods.get(key, 0) + 1
    return out, pods


def settle_in_random_order(world: Any, source: random.Random) -> None:
    """A storm of looks, each at a random controller and object, some twice, before the final passes."""
    for _ in range(40):
        before = world.store.revision
        items = [
            (controller, key)
            for controller in CONTROLLERS
            for key in (*world.view.all_keys(), *world.view.routing())
            if controller.kind is None or key[:2] == key_for(controller.kind, "", "")[:2]
        ]
        items = source.sample(items, len(items)) + source.sample(items, len(items) // 2)
        for controller, key in items:
            world.execute(controller.reconcile(key, world.view, world.now))
        if world.store.revision == before:
            return
    raise AssertionError("no rest")


@pytest.fixture
def another(world: Any) -> Callable[[], Any]:
    return type(world)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, seed=st.integers(0, 2**32))
@STALE_VERDICT
def test_CP_07_the_order_of_looks_does_not_matter(another, operations, seed):
    calm, wild, source = another(), another(), random.Random(seed)
    for operation, name in operations:
        for world in (calm, wild):
            operate(world, operation, name)
        calm.settle()
        settle_in_random_order(wild, source)
        assert picture(wild) == picture(calm), operation


class LossyLoop(ControlLoop):
    """Forgets, repeats and delays notifications."""

    source = random.Random(0)
    late: list[Change] = []

    def notify(self, change: Change) -> None:
        fate = self.source.random()
        if fate < 0.3:
            return
        if fate < 0.5:
            self.late.append(change)
            return
        for _ in range(self.source.randint(1, 3)):
            super().notify(change)
        while self.late and self.source.random() < 0.5:
            super().notify(self.late.pop(self.source.randrange(len(self.late))))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, seed=st.integers(0, 2**32))
@STALE_VERDICT
def test_CP_07_lost_doubled_and_late_notifications_end_in_the_same_state(another, operations, seed):
    calm, lossy = another(), another()
    LossyLoop.source, LossyLoop.late = random.Random(seed), []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        control = LossyLoop(
            store=lossy.store,
            view=lossy.view,
            loop=loop,
            clock=Clock(monotonic=loop.time, wall=lambda: lossy.now),
            source=random.Random(seed),
        )
        control.open()
        for operation, name in operations:
            operate(lossy, operation, name)
            await control.quiet()
            control.resync()
            for _ in range(20):
                await control.quiet()
                before = lossy.store.revision
                control.resync()
                await control.quiet()
                if lossy.store.revision == before:
                    break
            operate(calm, operation, name)
            calm.settle()
            assert picture(lossy) == picture(calm), operation
        await control.close()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


def test_reconciling_again_writes_nothing(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.settle()
    before = world.store.revision
    world.now += 3600
    world.settle()
    assert world.store.revision == before
