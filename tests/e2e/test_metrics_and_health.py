"""/metrics has the names that dashboards know, /livez and /readyz answer, and a deleted revision leaves no series."""

import http.client
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import EXAMPLES, Up

IDENTITY = {
    "k8s_namespace_name": "default",
    "kn_service_name": "hello",
    "kn_configuration_name": "hello",
    "kn_revision_name": "hello-00001",
}
# Families of one process that is gateway, activator, autoscaler and control plane, and what they are.
OF_A_REVISION = {
    "http_server_request_duration_seconds": "histogram",
    "http_server_request_body_size_bytes": "histogram",
    "http_server_response_body_size_bytes": "histogram",
    "http_client_request_duration_seconds": "histogram",
    "http_client_request_body_size_bytes": "histogram",
    "kn_revision_request_concurrency": "gauge",
    "kn_revision_request_queued": "gauge",
    "kn_revision_request_active": "gauge",
    "kn_revision_pods_desired": "gauge",
    "kn_revision_pods_requested": "gauge",
    "kn_revision_pods_count": "gauge",
    "kn_revision_pods_not_ready_count": "gauge",
    "kn_revision_pods_pending_count": "gauge",
    "kn_revision_pods_terminating_count": "gauge",
    "kn_revision_concurrency_stable": "gauge",
    "kn_revision_concurrency_panic": "gauge",
    "kn_revision_concurrency_target": "gauge",
    "kn_revision_capacity_excess": "gauge",
    "kn_revision_panic_mode": "gauge",
}
FOR_RPS = ("kn_revision_rps_stable_per_second", "kn_revision_rps_panic_per_second", "kn_revision_rps_target_per_second")
OF_A_LOOP = {
    "kn_workqueue_depth": "gauge",
    "kn_workqueue_adds": "counter",
    "kn_workqueue_retries": "counter",
    "kn_workqueue_queue_duration_seconds": "histogram",
    "kn_workqueue_process_duration_seconds": "histogram",
    "kn_workqueue_unfinished_work_seconds": "gauge",
}


class Admin:
    """The admin listener, as a Prometheus and a kubelet see it: no token."""

    def __init__(self, up: Up) -> None:
        self.address = json.loads((up.data / "instance.json").read_text())["admin"].removeprefix("http://")

    def get(self, path: str) -> tuple[int, str, str]:
        """(status, content type, body)."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
        finally:
            connection.close()

    def families(self) -> dict:
        status, content_type, text = self.get("/metrics")
        assert status == 200
        assert content_type.startswith("text/plain; version=0.0.4")
        return {family.name: family for family in text_string_to_metric_families(text)}

    def series_of(self, revision: str) -> list:
        families = self.families().values()
        return [s for family in families for s in family.samples if s.labels.get("kn_revision_name") == revision]


@pytest.fixture
def up(start) -> Up:
    up = start(images=EXAMPLES / "hello" / "images.yaml")
    up.apply("hello/hello.yaml")
    up.ready("ksvc/hello")
    assert up.get("hello.default.localhost")[0] == 200
    return up


def test_the_families_of_a_revision_have_the_names_and_labels_of_knative(up):
    families = Admin(up).families()
    for name, kind in OF_A_REVISION.items():
        assert name in families, name
        assert families[name].type == kind
        mine = [one for one in families[name].samples if IDENTITY.items() <= one.labels.items()]
        assert mine, name
    for name in FOR_RPS:
        assert families[name].type == "gauge"
    counted = families["http_server_request_duration_seconds"].samples
    [count] = [
        one for one in counted if one.name.endswith("_count") and one.labels["kn_revision_name"] == "hello-00001"
    ]
    address = count.labels.pop("server_address"), count.labels.pop("server_port")
    assert address == ("127.0.0.1", up.http.rsplit(":", 1)[1])
    assert count.labels == IDENTITY | {
        "http_request_method": "GET",
        "http_response_status_code": "200",
        "network_protocol_name": "http",
        "network_protocol_version": "1.1",
        "url_scheme": "http",
    }
    assert count.value == 1
    buckets = [one for one in counted if one.name.endswith("_bucket")]
    assert buckets[-1].labels["le"] == "+Inf"


def test_the_control_loops_have_the_work_queue_numbers_of_knative(up):
    families = Admin(up).families()
    for name, kind in OF_A_LOOP.items():
        assert families[name].type == kind
        assert {"service", "configuration", "revision", "route"} <= {
            one.labels["name"] for one in families[name].samples
        }, name
    assert sum(one.value for one in families["kn_workqueue_adds"].samples) > 0


def test_nothing_of_ours_stands_under_the_prefixes_of_others(up):
    """`kn_` is Knative's; what it does not have is called dataplane_…."""
    known = {
        *OF_A_REVISION,
        *OF_A_LOOP,
        *FOR_RPS,
        "target_info",
        "kn_activator_stats_conn_reachable",
        "kn_activator_stats_conn_errors",
        "kn_eventing_dispatch_duration_seconds",
        "kn_eventing_process_duration_seconds",
    }
    for name in Admin(up).families():
        assert name in known or name.startswith("dataplane_"), name


def test_livez_and_readyz_say_what_was_checked(up):
    admin = Admin(up)
    assert admin.get("/livez")[::2] == (200, "ok")
    assert admin.get("/readyz")[::2] == (200, "ok")
    status, content_type, text = admin.get("/readyz?verbose")
    assert (status, content_type) == (200, "text/plain; charset=utf-8")
    lines = text.splitlines()
    assert lines[-1] == "readyz check passed"
    assert {"[+]store ok", "[+]snapshot ok", "[+]pods ok", "[+]draining ok"} <= set(lines)


def test_the_series_of_a_deleted_revision_disappear_and_those_of_others_stay(up):
    admin = Admin(up)
    up.kubectl("patch", "ksvc", "hello", "--type=merge", "-p", _template("Second"))
    up.eventually(lambda: up.get("hello.default.localhost")[1] == "Hello Second!\n", "the second revision serves")
    up.ready("ksvc/hello")
    assert admin.series_of("hello-00001")
    up.kubectl("delete", "revision", "hello-00001")
    up.eventually(lambda: not admin.series_of("hello-00001"), "no series of the deleted revision")
    assert admin.series_of("hello-00002")
    up.kubectl("delete", "ksvc", "hello")
    up.eventually(lambda: not admin.series_of("hello-00002"), "no series of the deleted service")
    assert up.get("hello.default.localhost")[0] == 404


def _template(target: str) -> str:
    container = {"image": "dev.local/hello:v1", "env": [{"name": "TARGET", "value": target}]}
    return json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}})
