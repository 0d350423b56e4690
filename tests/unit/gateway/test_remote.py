from dataplane.resources.snapshot import Endpoint, Revision, Snapshot
from gateway.remote import EJECTED_S, RemoteAdmission


class Local:
    def __init__(self):
        self.left = []

    def take(self, revision, avoid=""):
        return f"local {revision}"

    def leave(self, slot, *, failed=False):
        self.left.append((slot, failed))


def made(activators=(("a", 1), ("b", 2))):
    now = [0.0]
    local = Local()
    remote = RemoteAdmission(local=local, activators=activators, clock=lambda: now[0])
    pod = Endpoint(id="p", address="127.0.0.1:1")
    remote.apply(
        Snapshot(
            revisions={
                "d/free": Revision(namespace="d", name="free", endpoints=(pod,)),
                "d/limited": Revision(namespace="d", name="limited", endpoints=(pod,), container_concurrency=1),
                "d/guarded": Revision(
                    namespace="d", name="guarded", container_concurrency=1,
                    endpoints=(Endpoint(id="p", address="127.0.0.1:1", sidecar=True),),
                ),
                "d/cold": Revision(namespace="d", name="cold"),
            }
        )
    )  # fmt: skip
    return remote, local, now


def test_only_what_needs_no_counting_is_served_directly():
    remote, _, _ = made()
    assert remote.take("d/free") == "local d/free"
    assert remote.take("d/guarded") == "local d/guarded"
    assert remote.take("d/limited").activator
    assert remote.take("d/cold").activator


def test_activators_take_turns_and_one_that_failed_is_left_out_for_a_second():
    remote, _, now = made()
    assert {remote.take("d/cold").address for _ in range(2)} == {("a", 1), ("b", 2)}
    slot = remote.take("d/cold")
    remote.leave(slot, failed=True)
    assert {remote.take("d/cold").address for _ in range(4)} == {a for a in (("a", 1), ("b", 2)) if a != slot.address}
    now[0] += EJECTED_S
    assert {remote.take("d/cold").address for _ in range(4)} == {("a", 1), ("b", 2)}


def test_when_all_have_failed_the_one_longest_ago_is_tried():
    remote, _, now = made()
    first = remote.take("d/cold")
    remote.leave(first, failed=True)
    now[0] += 0.1
    second = remote.take("d/cold")
    remote.leave(second, failed=True)
    assert remote.take("d/cold") is first


def test_a_local_slot_goes_back_to_where_it_came_from():
    remote, local, _ = made()
    remote.leave(remote.take("d/free"), failed=True)
    assert local.left == [("local d/free", True)]


def test_a_revision_that_loses_its_pods_goes_through_an_activator_again():
    remote, _, _ = made()
    remote.apply(Snapshot(revisions={"d/free": Revision(namespace="d", name="free")}))
    assert remote.take("d/free").activator
