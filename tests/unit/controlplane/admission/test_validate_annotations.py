"""Annotations of a template: every rule of §5.4, and those of §5.3 about networking, queue-proxy and the deadline."""

import pytest

AS = "autoscaling.knative.dev/"
QP = "queue.sidecar.serving.knative.dev/"


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("class", "foo.knative.dev", "invalid value: foo.knative.dev: A.autoscaling.knative.dev/class"),
        ("min-scale", "-1", "expected 0 <= -1 <= 2147483647: A.autoscaling.knative.dev/min-scale"),
        ("minScale", "-1", "expected 0 <= -1 <= 2147483647: A.autoscaling.knative.dev/minScale"),
        ("min-scale", "foo", "invalid value: foo: A.autoscaling.knative.dev/min-scale"),
        ("max-scale", "9999999999", "expected 0 <= 9999999999 <= 2147483647: A.autoscaling.knative.dev/max-scale"),
        (
            "activation-scale",
            "1",
            "activation-scale=1 must be greater than 1: A.autoscaling.knative.dev/activation-scale",
        ),
        ("activation-scale", "x", "invalid value: x: A.autoscaling.knative.dev/activation-scale"),
        ("initial-scale", "x", "invalid value: x: A.autoscaling.knative.dev/initial-scale"),
        ("initial-scale", "-1", "invalid value: -1: A.autoscaling.knative.dev/initial-scale must be greater than 0"),
        ("initial-scale", "0", "invalid value: 0: A.autoscaling.knative.dev/initial-scale=0 not allowed by cluster"),
        ("target", "0.001", "target 0.001 should be at least 0.01: A.autoscaling.knative.dev/target"),
        ("target", "many", "invalid value: many: A.autoscaling.knative.dev/target"),
        ("target", "NaN", "target NaN should be at least 0.01: A.autoscaling.knative.dev/target"),
        (
            "target-utilization-percentage",
            "101",
            "expected 1 <= 101 <= 100: A.autoscaling.knative.dev/target-utilization-percentage",
        ),
        (
            "targetUtilizationPercentage",
            "0",
            "expected 1 <= 0 <= 100: A.autoscaling.knative.dev/targetUtilizationPercentage",
        ),
        ("target-burst-capacity", "-2", "invalid value: -2: A.autoscaling.knative.dev/target-burst-capacity"),
        ("target-burst-capacity", "Inf", "invalid value: Inf: A.autoscaling.knative.dev/target-burst-capacity"),
        ("target-burst-capacity", "x", "invalid value: x: A.autoscaling.knative.dev/target-burst-capacity"),
        (
            "panic-window-percentage",
            "0.5",
            "expected 1 <= 0.5 <= 100: A.autoscaling.knative.dev/panic-window-percentage",
        ),
        (
            "panic-threshold-percentage",
            "109",
            "expected 110 <= 109 <= 1000: A.autoscaling.knative.dev/panic-threshold-percentage",
        ),
        ("window", "5s", "expected 6s <= 5s <= 1h0m0s: A.autoscaling.knative.dev/window"),
        ("window", "2h", "expected 6s <= 2h <= 1h0m0s: A.autoscaling.knative.dev/window"),
        ("window", "x", "invalid value: x: A.autoscaling.knative.dev/window"),
        ("window", "6500ms", "must be specified with at most second precision: A.autoscaling.knative.dev/window"),
        ("scale-down-delay", "-1s", "expected 0s <= -1s <= 1h0m0s: A.autoscaling.knative.dev/scale-down-delay"),
        ("scale-down-delay", "2h", "expected 0s <= 2h <= 1h0m0s: A.autoscaling.knative.dev/scale-down-delay"),
        (
            "scale-down-delay",
            "10.5s",
            "must be specified with at most second precision: A.autoscaling.knative.dev/scale-down-delay",
        ),
        (
            "scale-to-zero-pod-retention-period",
            "61m",
            "expected 0s <= 61m <= 1h0m0s: A.autoscaling.knative.dev/scale-to-zero-pod-retention-period",
        ),
        ("metric", "cpu", "invalid value: cpu: A.autoscaling.knative.dev/metric"),
    ],
)
def test_an_autoscaling_annotation_out_of_its_range(judge, key, value, error):
    assert judge.annotation_errors({AS + key: value}) == [error]


@pytest.mark.parametrize(
    "annotations",
    [
        {"class": "custom.example.com", "metric": "anything"},
        {"class": "hpa.autoscaling.knative.dev", "metric": "cpu"},
        {"min-scale": "1", "max-scale": "0"},
        {"min-scale": "2", "max-scale": "2", "activation-scale": "2"},
        {"target-burst-capacity": "-1"},
        {"target-burst-capacity": "0"},
        {"window": "6s", "scale-down-delay": "1h", "scale-to-zero-pod-retention-period": "1500ms"},
        {"metric-aggregation-algorithm": "anything"},
        {"panic-window-percentage": "1.5", "panic-threshold-percentage": "110"},
        {"metric": "rps", "target": "0.01"},
    ],
)
def test_what_is_allowed(judge, annotations):
    assert judge.annotation_errors({AS + key: value for key, value in annotations.items()}) == []


def test_max_scale_below_min_scale_names_both(judge):
    said = judge.annotation_errors({AS + "min-scale": "5", AS + "max-scale": "2"})
    assert said == [
        "max-scale=2 is less than min-scale=5: A.autoscaling.knative.dev/max-scale, A.autoscaling.knative.dev/min-scale"
    ]


def test_activation_scale_lies_between_them(judge):
    assert judge.annotation_errors({AS + "min-scale": "5", AS + "activation-scale": "4"}) == [
        "min-scale=5 is greater than activation-scale=4: A.autoscaling.knative.dev/activation-scale"
    ]
    assert judge.annotation_errors({AS + "max-scale": "3", AS + "activation-scale": "4"}) == [
        "max-scale=3 is less than activation-scale=4: A.autoscaling.knative.dev/activation-scale"
    ]


def test_a_max_scale_limit_binds_and_forbids_unlimited(judge):
    config = {"config-autoscaler": {"max-scale-limit": "10", "max-scale": "5"}}
    assert judge.annotation_errors({AS + "max-scale": "11"}, config) == [
        "expected 1 <= 11 <= 10: A.autoscaling.knative.dev/max-scale"
    ]
    assert judge.annotation_errors({AS + "max-scale": "0"}, config) == [
        "max-scale=0 (unlimited), must be less than 10: A.autoscaling.knative.dev/max-scale"
    ]
    assert judge.annotation_errors({AS + "max-scale": "10"}, config) == []


def test_initial_scale_zero_where_the_cluster_allows_it(judge):
    config = {"config-autoscaler": {"allow-zero-initial-scale": "true"}}
    assert judge.annotation_errors({AS + "initial-scale": "0"}, config) == []


def test_metrics_of_the_hpa_class_and_of_the_configured_default_class(judge):
    hpa = {AS + "class": "hpa.autoscaling.knative.dev"}
    assert judge.annotation_errors({**hpa, AS + "metric": ""}) == ["invalid value: : A.autoscaling.knative.dev/metric"]
    config = {"config-autoscaler": {"pod-autoscaler-class": "hpa.autoscaling.knative.dev"}}
    assert judge.annotation_errors({AS + "metric": "memory"}, config) == []


def test_the_algorithm_is_looked_at_only_with_an_explicit_kpa_class(judge):
    kpa = {AS + "class": "kpa.autoscaling.knative.dev"}
    assert judge.annotation_errors({**kpa, AS + "metric-aggregation-algorithm": "magic"}) == [
        "invalid value: magic: A.autoscaling.knative.dev/metric-aggregation-algorithm"
    ]
    for good in ("linear", "weighted-exponential", "weightedExponential"):
        assert judge.annotation_errors({**kpa, AS + "metric-aggregation-algorithm": good}) == []


def test_networking_annotations_must_be_known(judge):
    assert judge.annotation_errors({"networking.knative.dev/foo": "x"}) == [
        'invalid key name "networking.knative.dev/foo": A'
    ]
    assert judge.annotation_errors({"networking.knative.dev/ingress.class": "kourier"}) == []


@pytest.mark.parametrize("resource", ["cpu", "memory", "ephemeral-storage"])
def test_queue_proxy_resources_are_quantities(judge, resource):
    key = f"{QP}{resource}-resource-request"
    assert judge.annotation_errors({key: "lots"}) == [f"invalid value: lots: A[{key}]"]
    assert judge.annotation_errors({key: "100m"}) == []


def test_the_queue_proxy_percentage_is_deprecated_and_bounded(judge):
    key = QP + "resource-percentage"
    assert judge.annotation_errors({key: "0.05"}) == [f"expected 0.1 <= 0.05 <= 100: A[{key}]"]
    assert judge.annotation_errors({key: "x"}) == [f"invalid value: x: A[{key}]"]
    admitted = judge.admit(judge.service(template={"annotations": {key: "20"}}))
    assert not admitted.errors
    assert any("Queue proxy resource percentage annotation is deprecated" in text for text in admitted.warnings)


def test_the_progress_deadline_is_whole_seconds(judge):
    key = "serving.knative.dev/progress-deadline"
    assert judge.annotation_errors({key: "x"}) == [f"invalid value: x: A.{key}"]
    assert judge.annotation_errors({key: "1500ms"}) == [f"progress-deadline=1500ms is not at second precision: A.{key}"]
    assert judge.annotation_errors({key: "-1s"}) == [f"progress-deadline=-1s must be positive: A.{key}"]
    for good in ("30s", "0s"):
        assert judge.annotation_errors({key: good}) == []


def test_other_annotations_pass(judge):
    assert judge.annotation_errors({"client.knative.dev/nonce": "x", "anything": "y"}) == []
