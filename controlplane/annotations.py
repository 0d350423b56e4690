"""Knative's annotation keys, each with its other spelling and the rule which of the two wins. Pure.

Path: metadata.annotations → [annotations] → admission/, knative_config.resolve_autoscaling.

Source: spec/serving.md §13.1.
"""

from collections.abc import Mapping

AUTOSCALING = "autoscaling.knative.dev/"
SERVING = "serving.knative.dev/"
NETWORKING = "networking.knative.dev/"
QUEUE = "queue.sidecar.serving.knative.dev/"

CREATOR = SERVING + "creator"
LAST_MODIFIER = SERVING + "lastModifier"
ROLLOUT_DURATION = SERVING + "rollout-duration"
PROGRESS_DEADLINE = SERVING + "progress-deadline"
VISIBILITY_LABEL = NETWORKING + "visibility"
CLUSTER_LOCAL = "cluster-local"

CLASS = AUTOSCALING + "class"
METRIC = AUTOSCALING + "metric"
TARGET = AUTOSCALING + "target"
TARGET_UTILIZATION = AUTOSCALING + "target-utilization-percentage"
TARGET_BURST_CAPACITY = AUTOSCALING + "target-burst-capacity"
MIN_SCALE = AUTOSCALING + "min-scale"
MAX_SCALE = AUTOSCALING + "max-scale"
INITIAL_SCALE = AUTOSCALING + "initial-scale"
ACTIVATION_SCALE = AUTOSCALING + "activation-scale"
SCALE_DOWN_DELAY = AUTOSCALING + "scale-down-delay"
RETENTION = AUTOSCALING + "scale-to-zero-pod-retention-period"
WINDOW = AUTOSCALING + "window"
PANIC_WINDOW = AUTOSCALING + "panic-window-percentage"
PANIC_THRESHOLD = AUTOSCALING + "panic-threshold-percentage"
ALGORITHM = AUTOSCALING + "metric-aggregation-algorithm"

KPA = "kpa.autoscaling.knative.dev"
HPA = "hpa.autoscaling.knative.dev"


def _camel(key: str) -> str:
    group, _, name = key.partition("/")
    first, *rest = name.split("-")
    return f"{group}/{first}" + "".join(word.capitalize() for word in rest)


# Kebab-case first: it wins. activation-scale, class, metric, target and window have one spelling only.
_KEBAB_FIRST = {
    key: (key, _camel(key))
    for key in (
        TARGET_UTILIZATION, TARGET_BURST_CAPACITY, MIN_SCALE, MAX_SCALE, INITIAL_SCALE, SCALE_DOWN_DELAY, RETENTION,
        PANIC_WINDOW, PANIC_THRESHOLD, ALGORITHM, ROLLOUT_DURATION, PROGRESS_DEADLINE, QUEUE + "resource-percentage",
    )
}  # fmt: skip
# Networking keys are looked up the other way round.
_LEGACY_FIRST = {
    NETWORKING + "ingress-class": (NETWORKING + "ingress.class", NETWORKING + "ingress-class"),
    NETWORKING + "certificate-class": (NETWORKING + "certificate.class", NETWORKING + "certificate-class"),
    NETWORKING + "http-protocol": (NETWORKING + "httpOption", NETWORKING + "http-protocol"),
    NETWORKING + "disable-external-domain-tls": (
        NETWORKING + "disableAutoTLS",
        NETWORKING + "disable-auto-tls",
        NETWORKING + "disable-external-domain-tls",
    ),
}
_SPELLINGS: dict[str, tuple[str, ...]] = {**_KEBAB_FIRST, **_LEGACY_FIRST}
NETWORKING_KEYS = frozenset(spelling for group in _LEGACY_FIRST.values() for spelling in group)


def found(annotations: Mapping[str, str], key: str) -> tuple[str, str] | None:
    """The spelling that is present (and wins) and its value; None when no spelling is there."""
    for spelling in _SPELLINGS.get(key, (key,)):
        if spelling in annotations:
            return spelling, annotations[spelling]
    return None


def annotation(annotations: Mapping[str, str], key: str) -> str | None:
    """The value of `key` (its kebab-case name) under any of its spellings."""
    pair = found(annotations, key)
    return pair[1] if pair else None
