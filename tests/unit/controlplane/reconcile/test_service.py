"""Service → Configuration and Route (spec/serving.md §2.1, §16.1–16.5)."""

from dataplane.resources.meta import ObjectMeta
from dataplane.resources.serving import Configuration, PodAutoscaler, Revision, Route, Service


def test_first_deploy_state_by_state(world):
    # 16.1, steps 1 to 8
    world.service()
    world.look("service", Service, "hello")
    assert world.state(Service, "hello", "ConfigurationsReady") == ("Unknown", "OutOfDate")
    assert world.state(Service, "hello", "RoutesReady") == ("Unknown", "OutOfDate")

    world.look("configuration", Configuration, "hello")
    configuration = world.need(Configuration, "hello")
    assert configuration.status.latest_created_revision_name == "hello-00001"
    assert world.state(Configuration, "hello") == ("Unknown", "")
    assert world.need(Revision, "hello-00001").metadata.labels["serving.knative.dev/routingState"] == "active"

    world.look("route", Route, "hello")
    assert world.state(Route, "hello", "AllTrafficAssigned") == ("Unknown", "RevisionMissing")
    assert world.state(Route, "hello", "IngressReady") == ("Unknown", "IngressNotConfigured")
    assert world.state(Route, "hello") == ("Unknown", "RevisionMissing")
    status = world.need(Route, "hello").status
    assert status.url == "http://hello.default.localhost:8080"
    assert status.address.url == "http://hello.default.svc.cluster.local"
    assert status.traffic == ()

    world.look("revision", Revision, "hello-00001")
    assert world.state(Revision, "hello-00001", "ResourcesAvailable") == ("Unknown", "Deploying")
    assert world.state(Revision, "hello-00001", "ContainerHealthy") == ("Unknown", "Deploying")
    world.look("replicas", Revision, "hello-00001")
    (pod,) = world.pods()

    world.pod_becomes(pod, ready=True)
    world.look("autoscaler", PodAutoscaler, "hello-00001")
    assert world.state(PodAutoscaler, "hello-00001") == ("True", "")
    world.look("revision", Revision, "hello-00001")
    assert world.state(Revision, "hello-00001") == ("True", "")
    assert world.state(Revision, "hello-00001", "Active") == ("True", "")

    world.look("configuration", Configuration, "hello")
    assert world.need(Configuration, "hello").status.latest_ready_revision_name == "hello-00001"
    assert world.state(Configuration, "hello") == ("True", "")

    world.hops_follow = False
    world.look("route", Route, "hello")
    assert world.state(Route, "hello") == ("Unknown", "IngressNotConfigured")
    world.hops_follow = True
    world.look("route", Route, "hello")
    assert world.state(Route, "hello") == ("True", "")

    world.look("service", Service, "hello")
    assert world.state(Service, "hello") == ("True", "")
    status = world.need(Service, "hello").status
    assert (status.latest_created_revision_name, status.latest_ready_revision_name) == ("hello-00001", "hello-00001")
    assert [(t.revision_name, t.percent, t.latest_revision, t.tag) for t in status.traffic] == [
        ("hello-00001", 100, True, "")
    ]
    assert [c.type for c in status.conditions] == ["ConfigurationsReady", "Ready", "RoutesReady"]

    world.decide("hello-00001", 0, active="False")
    world.settle()
    assert world.state(Revision, "hello-00001", "Active") == ("False", "NoTraffic")
    assert world.state(Revision, "hello-00001") == ("True", "")
    assert world.state(Service, "hello") == ("True", "")
    assert world.pods() == []


def test_children_carry_labels_annotations_and_owner(world):
    world.service(
        labels={"team": "blue"},
        annotations={
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "serving.knative.dev/rollout-duration": "10s",
            "note": "kept",
        },
    )
    world.look("service", Service, "hello")
    service = world.need(Service, "hello")
    configuration, route = world.need(Configuration, "hello"), world.need(Route, "hello")
    assert configuration.metadata.labels == {
        "team": "blue",
        "serving.knative.dev/service": "hello",
        "serving.knative.dev/serviceUID": service.metadata.uid,
    }
    assert configuration.metadata.annotations == {"note": "kept", "serving.knative.dev/routes": "hello"}
    assert route.metadata.labels == {"team": "blue", "serving.knative.dev/service": "hello"}
    assert route.metadata.annotations == {"serving.knative.dev/rollout-duration": "10s", "note": "kept"}
    assert [t.configuration_name for t in route.spec.traffic] == ["hello"]
    for child in (configuration, route):
        (ref,) = child.metadata.owner_references
        assert (ref.uid, ref.controller, ref.block_owner_deletion) == (service.metadata.uid, True, True)


def test_edits_of_children_are_reverted(world):
    from msgspec.structs import replace

    world.deployed()
    route = world.need(Route, "hello")
    other = replace(route.spec.traffic[0], percent=50)
    world.put(
        replace(route, spec=replace(route.spec, traffic=(other,)), metadata=replace(route.metadata, labels={"x": "y"}))
    )
    world.settle()
    mended = world.need(Route, "hello")
    assert mended.spec == route.spec
    assert mended.metadata.labels == route.metadata.labels
    assert world.state(Service, "hello") == ("True", "")


def test_a_same_named_child_of_somebody_else_is_never_touched(world):
    foreign = world.put(Configuration(metadata=ObjectMeta(name="hello", namespace="default")))
    world.service()
    world.look("service", Service, "hello")
    assert world.state(Service, "hello", "ConfigurationsReady") == ("False", "NotOwned")
    assert world.message(Service, "hello") == 'There is an existing Configuration "hello" that we do not own.'
    assert world.get(Configuration, "hello") == foreign
    assert world.get(Route, "hello") is None


def test_a_route_of_somebody_else_makes_routes_not_owned(world):
    foreign = world.put(Route(metadata=ObjectMeta(name="hello", namespace="default")))
    world.service()
    world.look("service", Service, "hello")
    assert world.state(Service, "hello", "RoutesReady") == ("False", "NotOwned")
    assert world.get(Route, "hello") == foreign


def test_a_new_revision_takes_over_only_when_it_is_ready(world):
    # 16.3
    world.deployed()
    world.retemplate()
    world.settle()
    assert world.state(Service, "hello") == ("Unknown", "")
    status = world.need(Service, "hello").status
    assert (status.latest_created_revision_name, status.latest_ready_revision_name) == ("hello-00002", "hello-00001")
    assert [t.revision_name for t in status.traffic] == ["hello-00001"]

    world.pods_become_ready("hello-00002")
    world.settle()
    assert world.state(Service, "hello") == ("True", "")
    assert [(t.revision_name, t.percent) for t in world.need(Service, "hello").status.traffic] == [("hello-00002", 100)]
    assert world.need(Revision, "hello-00001").metadata.labels["serving.knative.dev/routingState"] == "reserve"
    assert world.need(PodAutoscaler, "hello-00001").spec.reachability == "Unreachable"
    assert world.need(PodAutoscaler, "hello-00002").spec.reachability == "Reachable"


def test_a_failed_new_revision_fails_the_service_while_the_old_one_serves(world):
    # 16.4
    world.deployed()
    world.retemplate()
    world.settle()
    for pod in world.pods("hello-00002"):
        from dataplane.resources import core

        ended = core.ContainerState(terminated=core.ContainerStateTerminated(exit_code=1, message="no such module"))
        world.pod_becomes(pod, last_state=ended)
    world.settle()
    assert world.state(Revision, "hello-00002", "ContainerHealthy") == ("False", "ExitCode1")
    assert world.state(Configuration, "hello") == ("False", "RevisionFailed")
    assert world.state(Service, "hello", "ConfigurationsReady") == ("False", "RevisionFailed")
    assert world.message(Service, "hello") == (
        'Revision "hello-00002" failed with message: Container failed with: no such module.'
    )
    assert world.state(Service, "hello", "RoutesReady") == ("True", "")
    assert [t.revision_name for t in world.need(Route, "hello").status.traffic] == ["hello-00001"]


def test_blue_green_moves_traffic_without_a_new_revision(world):
    world.deployed()
    world.retemplate()
    world.settle()
    world.pods_become_ready()
    world.settle()
    world.retraffic(
        {"revisionName": "hello-00001", "percent": 90},
        {"revisionName": "hello-00002", "percent": 10, "tag": "green"},
    )
    world.settle()
    status = world.need(Service, "hello").status
    assert [(t.revision_name, t.percent, t.tag, t.url, t.latest_revision) for t in status.traffic] == [
        ("hello-00001", 90, "", "", False),
        ("hello-00002", 10, "green", "http://green-hello.default.localhost:8080", False),
    ]
    assert world.state(Service, "hello") == ("True", "")
    assert [r.metadata.name for r in world.all(Revision)] == ["hello-00001", "hello-00002"]
    assert {r.metadata.labels["serving.knative.dev/routingState"] for r in world.all(Revision)} == {"active"}


def test_an_identical_template_makes_no_revision(world):
    world.deployed()
    before = world.store.revision
    world.service()
    world.settle()
    assert world.store.revision == before
    assert len(world.all(Revision)) == 1


def test_routes_ready_is_unknown_until_traffic_is_migrated(world):
    from msgspec.structs import replace

    world.deployed()
    route = world.need(Route, "hello")
    stale = replace(route.status.traffic[0], revision_name="hello-00000")
    world.put(replace(route, status=replace(route.status, traffic=(stale,))))
    world.look("service", Service, "hello")
    assert world.state(Service, "hello", "RoutesReady") == ("Unknown", "TrafficNotMigrated")


def test_a_name_of_the_users_own_that_is_taken_moves_no_traffic(world):
    world.deployed()
    world.service(
        "other",
        template={
            "metadata": {"name": "hello-00001"},
            "spec": {"containers": [{"name": "user-container", "image": "demo://other"}]},
        },
    )
    world.settle()
    assert world.state(Service, "other", "RoutesReady") == ("False", "RevisionNameTaken")
    assert world.state(Configuration, "other") == ("False", "RevisionFailed")
    assert world.message(Configuration, "other") == (
        'Revision creation failed with message: revisions.serving.knative.dev "hello-00001" already exists.'
    )
    assert world.get(Route, "other") is None

    world.delete(Service, "hello")
    world.settle()
    world.drained()
    world.settle()
    world.pods_become_ready()
    world.settle()
    assert world.state(Service, "other") == ("True", "")


def test_with_an_own_revision_name_the_route_waits_for_the_configuration(world):
    world.service(
        template={
            "metadata": {"name": "hello-blue"},
            "spec": {"containers": [{"name": "user-container", "image": "demo://hello"}]},
        }
    )
    world.look("service", Service, "hello")
    assert world.get(Route, "hello") is None
    world.look("configuration", Configuration, "hello")
    assert world.get(Revision, "hello-blue") is not None
    world.look("service", Service, "hello")
    assert world.get(Route, "hello") is not None
