"""Route: targets, conditions, URLs (spec/serving.md §2.4, §2.5, §16.5)."""

import msgspec
import pytest
from msgspec.structs import replace

from controlplane.knative_config import KnativeConfig, parse
from dataplane.resources.core import Pod
from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Configuration, Revision, Route, RouteSpec, Service, TrafficTarget


def route(world, *targets, name="free", **meta):
    traffic = tuple(msgspec.convert(target, TrafficTarget) for target in targets)
    world.put(Route(metadata=ObjectMeta(name=name, namespace="default", **meta), spec=RouteSpec(traffic=traffic)))
    world.look("route", Route, name)


@pytest.mark.parametrize(
    ("target", "status", "reason", "message"),
    [
        (
            {"configurationName": "nobody", "percent": 100},
            "False",
            "ConfigurationMissing",
            'Configuration "nobody" referenced in traffic not found.',
        ),
        (
            {"revisionName": "nobody", "percent": 100},
            "False",
            "RevisionMissing",
            'Revision "nobody" referenced in traffic not found.',
        ),
        (
            {"configurationName": "hello", "percent": 100},
            "Unknown",
            "RevisionMissing",
            'Configuration "hello" is waiting for a Revision to become ready.',
        ),
        (
            {"revisionName": "hello-00001", "percent": 100},
            "Unknown",
            "RevisionMissing",
            'Revision "hello-00001" is not yet ready.',
        ),
    ],
)
def test_a_bad_target_says_why(world, target, status, reason, message):
    world.service()
    world.settle()
    route(world, target)
    assert world.state(Route, "free", "AllTrafficAssigned") == (status, reason)
    assert world.message(Route, "free") == message
    assert world.need(Route, "free").status.traffic == ()


def test_failed_targets_are_false_not_unknown(world):
    world.service()
    world.settle()
    world.pods_crash()
    world.settle()
    route(world, {"configurationName": "hello", "percent": 100})
    assert world.message(Route, "free") == 'Configuration "hello" does not have any ready Revision.'
    assert world.state(Route, "free", "AllTrafficAssigned")[0] == "False"
    route(world, {"revisionName": "hello-00001", "percent": 100})
    assert world.message(Route, "free") == 'Revision "hello-00001" failed to become ready.'


def test_a_failure_outweighs_what_is_not_yet_there(world):
    world.service()
    world.settle()
    route(world, {"configurationName": "hello", "percent": 50}, {"revisionName": "nobody", "percent": 50})
    assert world.state(Route, "free", "AllTrafficAssigned") == ("False", "RevisionMissing")


def test_a_bad_target_leaves_the_old_programming(world):
    world.deployed()
    before = world.need(Route, "hello").status.traffic
    world.retraffic({"revisionName": "hello-00001", "percent": 50}, {"revisionName": "nobody", "percent": 50})
    world.settle()
    assert world.state(Route, "hello") == ("False", "RevisionMissing")
    assert world.need(Route, "hello").status.traffic == before
    world.retraffic({"latestRevision": True, "percent": 100})
    world.settle()
    assert world.state(Service, "hello") == ("True", "")


def test_a_service_may_not_route_to_somebody_elses_revision(world):
    world.deployed()
    world.deployed("other")
    world.retraffic({"revisionName": "other-00001", "percent": 100})
    world.settle()
    assert world.state(Route, "hello", "AllTrafficAssigned") == ("False", "RevisionNotOwned")


def test_equal_targets_are_merged_in_status(world):
    world.deployed()
    world.retraffic({"revisionName": "hello-00001", "percent": 40}, {"revisionName": "hello-00001", "percent": 60})
    world.settle()
    assert [(t.revision_name, t.percent) for t in world.need(Route, "hello").status.traffic] == [("hello-00001", 100)]
    assert world.state(Service, "hello") == ("True", "")


def test_a_tag_alone_gets_a_host_and_no_traffic(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.retraffic(
        {"latestRevision": True, "percent": 100}, {"revisionName": "hello-00001", "percent": 0, "tag": "prev"}
    )
    world.settle()
    body = msgspec.to_builtins(world.need(Service, "hello").status.traffic)
    assert list(body) == [
        {"revisionName": "hello-00002", "percent": 100, "latestRevision": True},
        {
            "revisionName": "hello-00001",
            "percent": 0,
            "latestRevision": False,
            "tag": "prev",
            "url": "http://prev-hello.default.localhost:8080",
        },
    ]
    assert world.state(Service, "hello") == ("True", "")


def test_a_private_service_has_the_cluster_local_url(world):
    world.deployed(labels={"networking.knative.dev/visibility": "cluster-local"})
    status = world.need(Service, "hello").status
    assert status.url == status.address.url == "http://hello.default.svc.cluster.local"
    assert world.message(Route, "hello", "CertificateProvisioned") == "TLS is not enabled for cluster-local"


def test_domain_and_scheme_come_from_the_configuration(world):
    world.config = parse(
        {"config-domain": {"example.com": ""}, "config-network": {"default-external-scheme": "https"}},
        domain="localhost",
    )
    world.deployed()
    assert world.need(Service, "hello").status.url == "https://hello.default.example.com:8080"


def test_a_domain_that_is_none_is_a_condition(world):
    network = replace(KnativeConfig().network, domain_template="{{.Name}}_{{.Namespace}}.{{.Domain}}")
    world.config = replace(KnativeConfig(), network=network)
    world.service()
    world.settle()
    assert world.state(Route, "hello", "AllTrafficAssigned")[0] == "False"
    assert "invalid domain name" in world.message(Route, "hello")


def test_tls_is_said_to_be_off(world):
    world.deployed()
    assert world.state(Route, "hello", "CertificateProvisioned") == ("True", "TLSNotEnabled")
    assert world.message(Route, "hello", "CertificateProvisioned") == "external-domain-tls is not enabled"


def test_a_latest_ready_revision_that_is_unwell_stays_routed(world):
    world.deployed()
    world.pods_crash()
    world.settle()
    assert world.state(Revision, "hello-00001")[0] == "False"
    assert world.state(Route, "hello") == ("True", "")


def test_ready_waits_until_the_hops_have_it(world):
    world.deployed()
    world.hops_follow = False
    world.retraffic({"revisionName": "hello-00001", "percent": 100})
    world.settle()
    assert world.state(Service, "hello") == ("Unknown", "IngressNotConfigured")
    world.hops_follow = True
    world.settle()
    assert world.state(Service, "hello") == ("True", "")


def test_GW_34_a_route_vanishes_with_its_service_and_takes_everything_along(world):
    world.deployed()
    world.delete(Service, "hello")
    world.settle()
    for kind in (Configuration, Route, Revision):
        assert world.all(kind) == []
    assert len(world.pods(leaving=True)) == len(world.all(Pod)) == 1
