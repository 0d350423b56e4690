"""The snapshot as one of several activators uses it."""

from activator.subset import Subset
from dataplane.resources.snapshot import Change, Endpoint, Revision, Snapshot, full

KEY = "d/r"


def endpoint(number: int, **more: bool) -> Endpoint:
    return Endpoint(id=f"pod-{number}", address=f"127.0.0.1:{9000 + number}", **more)


def revision(pods: int, *, limit: int = 10, extra: tuple[Endpoint, ...] = ()) -> Revision:
    endpoints = (*(endpoint(number) for number in range(pods)), *extra)
    return Revision(namespace="d", name="r", container_concurrency=limit, endpoints=endpoints)


def snapshot(one: Revision, *activators: str, generation: int = 1) -> Snapshot:
    return Snapshot(generation=generation, revisions={KEY: one}, activators=activators)


def first(subset: Subset, view: Snapshot) -> Revision:
    return subset.apply(view, full(view))[0].revisions[KEY]


def ids(one: Revision) -> list[str]:
    return [endpoint.id for endpoint in one.endpoints]


def test_each_of_two_uses_its_own_half_with_the_whole_limit():
    found = [first(Subset(name), snapshot(revision(4), "a", "b")) for name in "ab"]
    assert [ids(one) for one in found] == [["pod-0", "pod-1"], ["pod-2", "pod-3"]]
    assert [one.container_concurrency for one in found] == [10, 10]


def test_two_that_share_a_pod_share_its_limit():
    found = [first(Subset(name), snapshot(revision(1, limit=5), "a", "b")) for name in "ab"]
    assert [ids(one) for one in found] == [["pod-0"], ["pod-0"]]
    assert [one.container_concurrency for one in found] == [3, 2]


def test_without_a_limit_alone_or_unknown_it_uses_all():
    for view in (
        snapshot(revision(4, limit=0), "a", "b"),
        snapshot(revision(4), "a"),
        snapshot(revision(4)),
        snapshot(revision(4), "b", "c"),
    ):
        assert first(Subset("a"), view) is view.revisions[KEY]


def test_pods_that_get_nothing_new_stay_and_do_not_count():
    extra = (endpoint(7, draining=True), endpoint(8, ready=False), endpoint(9, ready=False, sidecar=True))
    assert ids(first(Subset("a"), snapshot(revision(1, extra=extra), "a", "b"))) == ["pod-0", "pod-7", "pod-8"]
    assert ids(first(Subset("b"), snapshot(revision(1, extra=extra), "a", "b"))) == ["pod-7", "pod-8", "pod-9"]


def test_a_change_of_the_activators_deals_again_and_leaves_alone_what_stays():
    subset, one = Subset("a"), revision(4)
    before = first(subset, snapshot(one, "a", "b"))
    view = snapshot(one, "a", "b", "c", generation=2)
    after, _ = subset.apply(view, Change(generation=2, base=1, activators=view.activators))
    assert ids(after.revisions[KEY]) == ["pod-0", "pod-3"]
    view = snapshot(one, "a", "b", generation=3)
    again, _ = subset.apply(view, Change(generation=3, base=2, activators=view.activators))
    assert again.revisions[KEY] == before
    other = Revision(namespace="d", name="other")
    view = Snapshot(generation=4, revisions={KEY: one, "d/other": other}, activators=("a", "b"))
    last, change = subset.apply(view, Change(generation=4, base=3, revisions={"d/other": other}))
    assert last.revisions[KEY] is again.revisions[KEY]
    assert change.revisions == {"d/other": other}


def test_a_revision_that_goes_is_gone():
    subset = Subset("a")
    first(subset, snapshot(revision(4), "a", "b"))
    view = Snapshot(generation=2, activators=("a", "b"))
    after, change = subset.apply(view, Change(generation=2, base=1, revisions={KEY: None}))
    assert after.revisions == {}
    assert change.revisions == {KEY: None}
