"""Annotation keys have other spellings; which of two wins is a rule of §13.1."""

from controlplane import annotations as keys
from controlplane.annotations import annotation, found


def test_the_kebab_spelling_wins_over_the_camel_one():
    both = {"autoscaling.knative.dev/minScale": "1", "autoscaling.knative.dev/min-scale": "2"}
    assert annotation(both, keys.MIN_SCALE) == "2"
    assert found({"autoscaling.knative.dev/minScale": "1"}, keys.MIN_SCALE) == ("autoscaling.knative.dev/minScale", "1")


def test_the_legacy_spelling_of_a_networking_key_wins():
    both = {"networking.knative.dev/httpOption": "redirected", "networking.knative.dev/http-protocol": "enabled"}
    assert annotation(both, "networking.knative.dev/http-protocol") == "redirected"
    assert annotation({"networking.knative.dev/ingress.class": "x"}, "networking.knative.dev/ingress-class") == "x"


def test_every_camel_spelling_is_upstreams():
    camel = {"autoscaling.knative.dev/" + name: name for name in (
        "targetUtilizationPercentage", "targetBurstCapacity", "minScale", "maxScale", "initialScale", "scaleDownDelay",
        "scaleToZeroPodRetentionPeriod", "panicWindowPercentage", "panicThresholdPercentage",
        "metricAggregationAlgorithm",
    )}  # fmt: skip
    for key in (
        keys.TARGET_UTILIZATION, keys.TARGET_BURST_CAPACITY, keys.MIN_SCALE, keys.MAX_SCALE, keys.INITIAL_SCALE,
        keys.SCALE_DOWN_DELAY, keys.RETENTION, keys.PANIC_WINDOW, keys.PANIC_THRESHOLD, keys.ALGORITHM,
    ):  # fmt: skip
        assert annotation(camel, key), key
    assert annotation({"serving.knative.dev/rolloutDuration": "1s"}, keys.ROLLOUT_DURATION) == "1s"


def test_keys_with_one_spelling_have_one_spelling():
    assert annotation({"autoscaling.knative.dev/activationScale": "2"}, keys.ACTIVATION_SCALE) is None
    assert annotation({}, keys.TARGET) is None
