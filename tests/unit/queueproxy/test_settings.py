"""The environment of Knative's sidecar, read and judged at once."""

import pytest

from dataplane.errors import ConfigFault
from queueproxy.checks import Check
from queueproxy.settings import read_settings

KNATIVES = {
    "CONTAINER_CONCURRENCY": "10",
    "QUEUE_SERVING_PORT": "8012",
    "QUEUE_SERVING_TLS_PORT": "8112",
    "USER_PORT": "8080",
    "REVISION_TIMEOUT_SECONDS": "300",
    "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "0",
    "REVISION_IDLE_TIMEOUT_SECONDS": "60",
    "SERVING_READINESS_PROBE": '{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}',
    "ENABLE_HTTP_FULL_DUPLEX": "false",
    "ENABLE_HTTP2_AUTO_DETECTION": "false",
    "SERVING_NAMESPACE": "default",
    "SERVING_SERVICE": "hello",
    "SERVING_CONFIGURATION": "hello",
    "SERVING_REVISION": "hello-00001",
    "SERVING_POD": "hello-00001-deployment-6c8",
    "SERVING_POD_IP": "10.1.2.3",
    "SERVING_LOGGING_CONFIG": "",
    "OBSERVABILITY_CONFIG": "{}",
    "ROOT_CA": "",
}


def test_what_knative_sets_is_enough():
    settings = read_settings(KNATIVES)
    assert (settings.host, settings.port, settings.user_port, settings.concurrency) == ("0.0.0.0", 8012, 8080, 10)
    assert (settings.timeout_s, settings.response_start_timeout_s, settings.idle_timeout_s) == (300, 0, 60)
    assert (settings.admin_port, settings.metrics_port, settings.quiet_s) == (8022, 9090, 30)
    assert settings.readiness == (Check(port=8080),)
    assert (settings.namespace, settings.revision, settings.pod) == ("default", "hello-00001", KNATIVES["SERVING_POD"])


def test_on_one_machine_it_stays_on_the_loopback_and_ports_can_be_off():
    settings = read_settings(
        {"USER_PORT": "5000", "QUEUE_ADMIN_PORT": "0", "QUEUE_METRICS_PORT": "0", "DRAIN_QUIET_S": "0.5"}
    )
    assert (settings.host, settings.admin_port, settings.metrics_port, settings.quiet_s) == (
        "127.0.0.1",
        None,
        None,
        0.5,
    )


@pytest.mark.parametrize(
    ("ip", "host"),
    [("", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"), ("fd00::7", "::"), ("x", "127.0.0.1")],
)
def test_a_pod_with_its_own_address_is_reached_from_outside(ip, host):
    assert read_settings({"USER_PORT": "1", "SERVING_POD_IP": ip}).host == host


def test_every_mistake_is_told_with_its_value_and_what_would_be_right():
    with pytest.raises(ConfigFault) as caught:
        read_settings(
            {
                "QUEUE_SERVING_PORT": "70000",
                "CONTAINER_CONCURRENCY": "-1",
                "REVISION_TIMEOUT_SECONDS": "5m",
                "REVISION_IDLE_TIMEOUT_SECONDS": "inf",
                "SERVING_READINESS_PROBE": "{",
                "AUTOSCALER_URL": "autoscaler:8080",
                "SERVING_POD": "a\nb",
            }
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "USER_PORT is not set: expected the port that the app listens on, for example 8080"
    assert [line.partition("=")[0] for line in lines[1:] if not line.startswith("SERVING_READINESS")] == [
        "QUEUE_SERVING_PORT",
        "CONTAINER_CONCURRENCY",
        "REVISION_TIMEOUT_SECONDS",
        "REVISION_IDLE_TIMEOUT_SECONDS",
        "SERVING_POD",
        "AUTOSCALER_URL",
    ]
    assert len(lines) == 8
    assert "CONTAINER_CONCURRENCY='-1': expected a whole number, 0 to 1000000" in lines


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("ws://autoscaler:8080", "http://autoscaler:8080"),
        ("ws://127.0.0.1:9/stats", "http://127.0.0.1:9"),
        ("wss://a:1/", "https://a:1"),
        ("http://a:1", "http://a:1"),
    ],
)
def test_the_autoscaler_is_named_by_its_websocket(url, found):
    env = {**KNATIVES, "AUTOSCALER_URL": url, "AUTOSCALER_TOKEN": "s3cret"}
    settings = read_settings(env)
    assert settings.autoscaler_url == found
    assert settings.autoscaler_token.reveal() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_reports_must_say_whose_they_are():
    with pytest.raises(ConfigFault, match="SERVING_POD is not set"):
        read_settings({"USER_PORT": "1", "AUTOSCALER_URL": "ws://a:1"})
