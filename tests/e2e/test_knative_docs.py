"""The manifests of the Knative documentation, applied unmodified with an images file, do what the pages say."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import EXAMPLES

DOCS = EXAMPLES / "knative-docs"


@pytest.fixture
def up(start):
    return start(images=DOCS / "images.yaml")


def test_first_service_then_an_update_then_a_split(up):
    up.apply("knative-docs/hello.yaml")
    up.ready("ksvc/hello")
    assert up.get("hello.default.localhost")[:2] == (200, "Hello World!\n")

    assert up.apply("knative-docs/hello-update.yaml") == "service.serving.knative.dev/hello configured\n"
    up.kubectl("wait", "--for=jsonpath={.status.latestReadyRevisionName}=hello-00002", "ksvc/hello", "--timeout=60s")
    up.ready("ksvc/hello")
    assert up.get("hello.default.localhost")[1] == "Hello Knative!\n"

    up.apply("knative-docs/hello-split.yaml")
    up.ready("ksvc/hello")
    found = up.tally("hello.default.localhost", 2_000)
    assert set(found) == {"Hello World!", "Hello Knative!"}
    assert 850 <= found["Hello World!"] <= 1150  # 6.7 sigma
    names = up.kubectl("get", "revisions", "-o", "name").split()
    assert names == ["revision.serving.knative.dev/hello-00001", "revision.serving.knative.dev/hello-00002"]


def test_a_service_is_made_private_by_a_label_and_public_again(up):
    up.apply("knative-docs/helloworld-go.yaml")
    up.ready("ksvc/helloworld-go")
    assert up.get("helloworld-go.default.localhost")[1] == "Hello Go Sample v1!\n"

    up.kubectl("label", "kservice", "helloworld-go", "networking.knative.dev/visibility=cluster-local")
    up.eventually(
        lambda: up.status("ksvc", "helloworld-go")["url"] == "http://helloworld-go.default.svc.cluster.local",
        "the URL is the cluster-local one",
    )
    up.ready("ksvc/helloworld-go")
    assert up.get("helloworld-go.default.localhost")[0] == 404
    assert up.get("helloworld-go.default.svc.cluster.local")[0] == 404  # from outside

    up.kubectl("label", "kservice", "helloworld-go", "networking.knative.dev/visibility-")
    up.eventually(lambda: up.get("helloworld-go.default.localhost")[0] == 200, "public again")


def test_a_private_manifest_is_never_reachable_from_outside(up):
    up.apply("knative-docs/private.yaml")
    up.ready("ksvc/helloworld-private")
    assert up.status("ksvc", "helloworld-private")["url"] == "http://helloworld-private.default.svc.cluster.local"
    for host in (
        "helloworld-private.default.localhost",
        "helloworld-private.default.svc.cluster.local",
        "helloworld-private.default",
    ):
        assert up.get(host)[0] == 404


def test_the_autoscale_sample_makes_five_pods_for_fifty_at_a_time(up):
    up.apply("knative-docs/autoscale-go.yaml")
    up.ready("ksvc/autoscale-go")
    status, body, _ = up.get("autoscale-go.default.localhost", "/?sleep=100&prime=10000&bloat=5")
    assert status == 200
    assert body.splitlines()[0].startswith("Slept for 1")  # 100 ms and what a busy machine adds
    assert body.splitlines()[1:] == ["The largest prime less than 10000 is 9973.", "Allocated 5 Mb of memory."]

    host = "autoscale-go.default.localhost"
    with ThreadPoolExecutor(1) as load:
        running = load.submit(up.tally, host, 600, clients=50, path="/?sleep=1000")
        up.eventually(lambda: up.status("rev", "autoscale-go-00001").get("actualReplicas", 0) >= 5, "five pods", 40)
        found = running.result()
    assert all(body.startswith("Slept for 1") for body in found), found


def test_traffic_management_with_tags(up):
    up.apply("knative-docs/traffic/1-first.yaml")
    up.ready("ksvc/example-service")
    assert up.get("example-service.default.localhost")[1] == "Hello 1!\n"

    up.apply("knative-docs/traffic/2-current-latest.yaml")
    up.ready("ksvc/example-service")
    assert set(up.tally("example-service.default.localhost", 300)) == {"Hello 1!"}
    up.eventually(lambda: up.get("latest-example-service.default.localhost")[1] == "Hello 2!\n", "latest is revision 2")
    assert up.get("current-example-service.default.localhost")[1] == "Hello 1!\n"

    up.apply("knative-docs/traffic/3-candidate.yaml")
    up.ready("ksvc/example-service")
    assert set(up.tally("example-service.default.localhost", 500)) == {"Hello 1!", "Hello 2!"}
    assert set(up.tally("candidate-example-service.default.localhost", 200)) == {"Hello 2!"}

    up.apply("knative-docs/traffic/4-staging.yaml")
    up.kubectl("wait", "--for=condition=Ready", "rev/example-service-3", "--timeout=60s")
    up.ready("ksvc/example-service")
    assert set(up.tally("example-service.default.localhost", 500)) == {"Hello 2!", "Hello 3!"}
    assert up.get("staging-example-service.default.localhost")[1] == "Hello 1!\n"
    assert up.get("candidate-example-service.default.localhost")[0] == 404


def test_blue_green_with_a_route_of_its_own(up):
    up.apply("knative-docs/route/configuration-first.yaml")
    up.kubectl("wait", "--for=condition=Ready", "configuration/stock", "--timeout=60s")
    first = up.kubectl("get", "configurations", "stock", "-o=jsonpath={.status.latestCreatedRevisionName}")
    assert first == "stock-first"
    up.apply("knative-docs/route/1-all-first.yaml")
    up.ready("route/stock")
    assert up.get("stock.default.localhost")[1] == "Hello first!\n"

    up.apply("knative-docs/route/configuration-second.yaml")
    up.eventually(
        lambda: up.status("configuration", "stock").get("latestReadyRevisionName") == "stock-second", "second is ready"
    )
    up.apply("knative-docs/route/2-staged.yaml")
    up.ready("route/stock")
    assert set(up.tally("stock.default.localhost", 300)) == {"Hello first!"}
    assert up.get("v2-stock.default.localhost")[1] == "Hello second!\n"
    urls = up.kubectl("get", "route", "stock", "--output", "jsonpath={.status.traffic[*].url}")
    assert urls == f"http://v2-stock.default.localhost:{up.port}"

    up.apply("knative-docs/route/3-half.yaml")
    up.ready("route/stock")
    assert set(up.tally("stock.default.localhost", 300)) == {"Hello first!", "Hello second!"}

    up.apply("knative-docs/route/4-all-second.yaml")
    up.ready("route/stock")
    assert set(up.tally("stock.default.localhost", 300)) == {"Hello second!"}


def test_a_tag_is_chosen_by_header_once_the_feature_is_enabled(up):
    up.kubectl("apply", "-f", "-", stdin=FEATURES)
    up.apply("knative-docs/tag-header.yaml")
    up.kubectl("wait", "--for=condition=Ready", "rev/tag-header-revision-2", "--timeout=60s")
    up.ready("ksvc/tag-header")
    host = "tag-header.default.localhost"
    assert up.get(host)[1] == "Hello Second Revision!\n"
    assert up.get(host, Knative_Serving_Tag="rev1")[1] == "Hello First Revision!\n"
    assert up.get(host, Knative_Serving_Tag="wrong")[1] == "Hello Second Revision!\n"


def test_the_multi_container_sample(up):
    up.apply("knative-docs/multi-container.yaml")
    up.ready("ksvc/multi-container")
    assert up.get("multi-container.default.localhost")[1].strip() == "Yay!! multi-container works"


FEATURES = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: config-features
  namespace: knative-serving
data:
  tag-header-based-routing: Enabled
"""
