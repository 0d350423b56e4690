from hypothesis import given
from hypothesis import strategies as st

from dataplane.resources.snapshot import Path, Route, Rule, Snapshot, Split, changed, difference
from gateway.match import RouteTable, match


class Headers:
    def __init__(self, **headers):
        self._headers = {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}

    def header(self, name):
        return self._headers.get(name)


NONE = Headers()


def route(name, *rules):
    return Route(namespace="d", name=name, rules=rules)


def rule(hosts, *paths, local=False):
    return Rule(hosts=tuple(hosts), paths=paths, visibility="ClusterLocal" if local else "ExternalIP")


def path(revision, prefix="", **headers):
    return Path(
        prefix=prefix, headers={k.replace("_", "-"): v for k, v in headers.items()}, splits=(Split(revision=revision),)
    )


def table(*routes):
    snapshot = Snapshot(generation=1, routes={f"d/{r.name}": r for r in routes})
    return RouteTable().updated(Snapshot(), snapshot, None)


def revision(hosts, host, target=b"/", headers=NONE):
    entry = match(hosts, host, target, headers)
    return entry.arms[0].revision if entry else None


def test_the_host_decides():
    t = table(route("a", rule(["a.d.localhost"], path("a-1"))), route("b", rule(["b.d.localhost"], path("b-1"))))
    assert revision(t.external, b"a.d.localhost") == "a-1"
    assert revision(t.external, b"b.d.localhost") == "b-1"
    assert revision(t.external, b"c.d.localhost") is None


def test_the_longest_prefix_wins_and_headers_go_first():
    t = table(
        route(
            "a",
            rule(
                ["h"],
                path("short", "/a"),
                path("long", "/a/b"),
                path("tagged", "/a/b", knative_serving_tag="t"),
                path("rest"),
            ),
        )
    )
    assert revision(t.external, b"h", b"/a/x") == "short"
    assert revision(t.external, b"h", b"/a/b/c") == "long"
    assert revision(t.external, b"h", b"/a/b/c", Headers(knative_serving_tag="t")) == "tagged"
    assert revision(t.external, b"h", b"/a/b/c", Headers(knative_serving_tag="u")) == "long"
    assert revision(t.external, b"h", b"/zzz") == "rest"


def test_a_host_without_a_matching_path_is_not_found():
    assert revision(table(route("a", rule(["h"], path("a", "/only")))).external, b"h", b"/other") is None


def test_private_hosts_answer_on_the_local_listener_only():
    t = table(route("a", rule(["h.d.svc"], path("a"), local=True), rule(["h.d.localhost"], path("a"))))
    assert revision(t.external, b"h.d.svc") is None
    assert revision(t.internal, b"h.d.svc") == "a"
    assert revision(t.internal, b"h.d.localhost") == "a"


def test_a_rule_without_hosts_catches_all_the_rest():
    t = table(route("all", rule([], path("all"))), route("a", rule(["h"], path("a"))))
    assert revision(t.external, b"h") == "a"
    assert revision(t.external, b"unknown") == "all"


def test_of_two_routes_with_one_host_the_first_keeps_it_until_it_goes():
    first, second = route("a", rule(["h"], path("a-1"))), route("b", rule(["h"], path("b-1")))
    one = Snapshot(generation=1, routes={"d/a": first})
    both = Snapshot(generation=2, routes={"d/a": first, "d/b": second})
    alone = Snapshot(generation=3, routes={"d/b": second})
    t = RouteTable().updated(Snapshot(), one, None).updated(one, both, None)
    assert revision(t.external, b"h") == "a-1"
    t = t.updated(both, alone, None)
    assert revision(t.external, b"h") == "b-1"


def test_the_old_table_still_answers_as_before():
    old = Snapshot(generation=1, routes={"d/a": route("a", rule(["h"], path("a-1")))})
    new = Snapshot(generation=2, routes={"d/a": route("a", rule(["h"], path("a-2")))})
    before = RouteTable().updated(Snapshot(), old, None)
    after = before.updated(old, new, difference(old, new))
    assert revision(before.external, b"h") == "a-1"
    assert revision(after.external, b"h") == "a-2"


hosts = st.sampled_from(["h1", "h2", "h3"])
routes = st.builds(
    lambda name, hs, rev: route(name, rule(hs, path(rev))),
    st.sampled_from(["a", "b", "c"]),
    st.lists(hosts, min_size=1, max_size=2, unique=True),
    st.sampled_from(["r1", "r2"]),
)


@given(st.lists(st.lists(routes, max_size=3, unique_by=lambda r: r.name), min_size=1, max_size=6))
def test_following_changes_ends_where_starting_anew_does_when_hosts_do_not_collide(states):
    snapshot, t = Snapshot(), RouteTable()
    for number, wanted in enumerate(states):
        taken: set[str] = set()
        kept = {}
        for r in wanted:  # a host belongs to one route at a time, as the publisher sees to it
            if not taken & set(r.rules[0].hosts):
                taken |= set(r.rules[0].hosts)
                kept[f"d/{r.name}"] = r
        new = Snapshot(generation=number + 1, routes=kept)
        change = difference(snapshot, new)
        assert changed(snapshot, change).routes == kept
        t = t.updated(snapshot, new, change)
        snapshot = new
    fresh = RouteTable().updated(Snapshot(), snapshot, None)
    assert t.external == fresh.external
    assert t.internal == fresh.internal
