"""Decisions arrive once, fenced (AS-06), and are kept for whoever acts on them."""

import pytest

from controlplane.scaledesk import ScaleDesk, StaleToken
from dataplane.clock import Clock
from dataplane.resources.scaling import Decision, ScaleWrite
from dataplane.resources.serving import Revision

KEY = "default/hello-00001"


class Desk:
    def __init__(self, world):
        self.world = world
        self.changed = []
        self.desk = self.restarted()

    def restarted(self):
        clock = Clock(monotonic=lambda: 0.0, wall=lambda: self.world.now)
        return ScaleDesk(store=self.world.store, clock=clock, changed=self.changed.append)

    def write(self, want, *, token=None, revision=KEY, **more):
        token = self.desk._token if token is None else token
        self.desk.accept(ScaleWrite(token=token, decisions=(Decision(revision=revision, want=want, **more),)))


@pytest.fixture
def desk(world):
    world.service()
    world.settle()
    return Desk(world)


def test_AS_06_only_the_newest_lease_may_write(desk):
    first = desk.desk.lease()
    desk.write(1, token=first)
    second = desk.desk.lease()
    assert second > first
    with pytest.raises(StaleToken):
        desk.write(9, token=first)
    assert desk.desk.decision(KEY).want == 1
    desk.write(2, token=second)
    assert desk.desk.decision(KEY).want == 2


def test_AS_06_a_lease_of_an_earlier_process_is_refused(desk):
    old = desk.desk.lease()
    desk.world.now += 5
    desk.desk = desk.restarted()
    with pytest.raises(StaleToken):
        desk.write(9, token=old)
    assert desk.desk.lease() > old


def test_a_token_nobody_gave_out_is_refused(desk):
    with pytest.raises(StaleToken):
        desk.write(9, token=desk.desk.lease() + 1)


def test_only_what_is_to_be_acted_on_is_told(desk):
    desk.write(2, active="True", stable_average=1.0)
    desk.write(2, active="True", stable_average=1.5)
    assert desk.changed == [KEY]
    assert desk.desk.decision(KEY).stable_average == 1.5
    desk.write(0, active="False")
    assert desk.changed == [KEY, KEY]


def test_leave_it_keeps_what_was_wanted(desk):
    desk.write(3)
    desk.write(-1, reason="no data")
    assert desk.desk.decision(KEY).want == 3
    assert desk.desk.decision(KEY).reason == "no data"


def test_revisions_that_do_not_exist_are_not_kept(desk):
    desk.write(3, revision="default/nobody")
    assert desk.desk.decision("default/nobody") is None
    desk.write(3)
    desk.world.delete(Revision, "hello-00001")
    assert desk.desk.decision(KEY) is None
