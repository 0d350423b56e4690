"""Routes and revisions as snapshot values (spec/serving.md §2.5, §6.6, §6.7, §6.12, §16.6)."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from controlplane import compile as compiled
from controlplane.knative_config import parse
from controlplane.reconcile.traffic import groups, merged
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import PodAutoscaler, Revision, Route, TrafficTarget


def bare(name="hello", **meta):
    return Route(metadata=ObjectMeta(name=name, namespace="default", **meta))


def traffic(*targets):
    return tuple(msgspec.convert(target, TrafficTarget) for target in targets)


LATEST = {"revisionName": "hello-00002", "percent": 100, "latestRevision": True}
PREV = {"revisionName": "hello-00001", "percent": 0, "tag": "prev"}


def test_rules_come_in_the_order_of_the_spec(world):
    route = compiled.route(bare(), traffic(LATEST, PREV), world.config)
    assert [(rule.hosts, rule.visibility) for rule in route.rules] == [
        (("hello.default", "hello.default.svc", "hello.default.svc.cluster.local"), "ClusterLocal"),
        (("hello.default.localhost",), "ExternalIP"),
        (("prev-hello.default", "prev-hello.default.svc", "prev-hello.default.svc.cluster.local"), "ClusterLocal"),
        (("prev-hello.default.localhost",), "ExternalIP"),
    ]
    (path,) = route.rules[1].paths
    (split,) = path.splits
    assert (split.revision, split.percent) == ("default/hello-00002", 100)
    assert split.append_headers == {
        "Knative-Serving-Namespace": "default",
        "Knative-Serving-Revision": "hello-00002",
    }
    assert route.rules[3].paths[0].splits[0].revision == "default/hello-00001"


def test_a_private_route_has_no_external_rule(world):
    route = bare(labels={"networking.knative.dev/visibility": "cluster-local"})
    rules = compiled.route(route, traffic(LATEST, PREV), world.config).rules
    assert {rule.visibility for rule in rules} == {"ClusterLocal"}
    assert compiled.url(route, "", world.config, 8080) == "http://hello.default.svc.cluster.local"
    assert compiled.url(route, "prev", world.config, 8080) == "http://prev-hello.default.svc.cluster.local"


def test_short_hosts_that_look_like_addresses_are_left_out():
    assert compiled.local_hosts("hello", "123") == ("hello.123.svc", "hello.123.svc.cluster.local")


def test_urls_show_the_port_unless_it_is_80(world):
    assert compiled.url(bare(), "", world.config, 8080) == "http://hello.default.localhost:8080"
    assert compiled.url(bare(), "v1", world.config, 80) == "http://v1-hello.default.localhost"


def test_templates_of_domain_and_tag_are_the_configurations(world):
    config = parse(
        {
            "config-network": {
                "domain-template": "{{.Name}}-{{.Namespace}}.{{.Domain}}",
                "tag-template": "{{.Name}}-{{.Tag}}",
            },
            "config-domain": {"example.com": ""},
        },
        domain="localhost",
    )
    route = compiled.route(bare(), traffic(LATEST, PREV), config)
    assert [rule.hosts for rule in route.rules if rule.visibility == "ExternalIP"] == [
        ("hello-default.example.com",),
        ("hello-prev-default.example.com",),
    ]


def test_a_share_of_zero_makes_no_split(world):
    route = compiled.route(bare(), traffic(LATEST, {"revisionName": "hello-00001", "percent": 0}), world.config)
    assert [split.revision for split in route.rules[0].paths[0].splits] == ["default/hello-00002"]


def test_tag_headers_only_with_the_feature(world):
    plain = compiled.route(bare(), traffic(LATEST, PREV), world.config)
    assert [len(rule.paths) for rule in plain.rules] == [1, 1, 1, 1]
    assert plain.rules[1].paths[0].append_headers == {}

    config = parse({"config-features": {"tag-header-based-routing": "enabled"}}, domain="localhost")
    route = compiled.route(bare(), traffic(LATEST, PREV), config)
    tagged, default = route.rules[1].paths
    assert tagged.headers == {"Knative-Serving-Tag": "prev"}
    assert tagged.splits[0].revision == "default/hello-00001"
    assert default.headers == {}
    assert default.append_headers == {"Knative-Serving-Default-Route": "true"}
    assert route.rules[3].paths[0].append_headers == {"Knative-Serving-Tag": "prev"}


def test_the_hash_names_the_rules_and_whose_they_are(world):
    first = compiled.route(bare(), traffic(LATEST), world.config)
    assert len(first.hash) == 64
    assert first.hash == compiled.route(bare(), traffic(LATEST), world.config).hash
    assert first.hash != compiled.route(bare(), traffic(LATEST, PREV), world.config).hash
    assert first.hash != compiled.route(bare("other"), traffic(LATEST), world.config).hash


def test_a_revision_tells_hops_what_they_need(world):
    world.service(
        template={
            "metadata": {"annotations": {"autoscaling.knative.dev/target": "7"}},
            "spec": {
                "containers": [{"image": "demo://hello", "ports": [{"name": "h2c", "containerPort": 8080}]}],
                "containerConcurrency": 9,
                "timeoutSeconds": 20,
                "idleTimeoutSeconds": 5,
                "responseStartTimeoutSeconds": 6,
            },
        }
    )
    world.settle()
    one = world.need(Revision, "hello-00001")
    value = compiled.revision(one, world.need(PodAutoscaler, "hello-00001"), (), world.config)
    assert (value.service, value.configuration, value.protocol) == ("hello", "hello", "h2c")
    assert (value.container_concurrency, value.timeout_s) == (9, 20.0)
    assert (value.idle_timeout_s, value.response_start_timeout_s) == (5.0, 6.0)
    assert (value.autoscaling.total, value.autoscaling.reachable, value.autoscaling.initialized) == (7.0, True, False)


def test_only_what_never_came_up_is_failed_at_once(world):
    def failed():
        one, autoscaler = world.need(Revision, "hello-00001"), world.need(PodAutoscaler, "hello-00001")
        return compiled.revision(one, autoscaler, (), world.config).failed

    world.service()
    world.settle()
    assert failed() == ""
    world.pods_crash(1, "boom")
    world.settle()
    assert failed() == "Container failed with: boom"
    world.pods_become_ready()
    world.settle()
    world.pods_crash(1, "boom")
    world.settle()
    assert world.state(Revision, "hello-00001")[0] == "False"
    assert failed() == "", "it has served before: requests wait for it"


TARGETS = st.lists(
    st.builds(
        TrafficTarget,
        revision_name=st.sampled_from(["a", "b", "c"]),
        percent=st.integers(0, 100),
        tag=st.sampled_from(["", "", "blue", "green"]),
        latest_revision=st.booleans(),
    ),
    max_size=8,
)


def summing_to_100(targets):
    total = sum(t.percent for t in targets)
    if not targets or total > 100:
        return ()
    return (replace(targets[0], percent=targets[0].percent + 100 - total), *targets[1:])


@given(TARGETS)
def test_shares_always_sum_to_100(targets):
    for shares in groups(summing_to_100(targets)).values():
        assert not shares or sum(shares.values()) == 100
        assert all(percent > 0 for percent in shares.values())


@given(TARGETS)
def test_merging_keeps_the_sum_and_is_done_once(targets):
    out = merged(tuple(targets))
    assert sum(t.percent for t in out) == sum(t.percent for t in targets)
    assert merged(out) == out
    assert groups(out) == groups(tuple(targets))
