"""Annotations over config-autoscaler over defaults (§10.2)."""

import pytest

from controlplane.autoscaling import panic_window_s, resolve_autoscaling
from controlplane.knative_config import KnativeConfig, parse
from dataplane.resources.scaling import Autoscaling

A = "autoscaling.knative.dev/"


def resolved(annotations=None, concurrency=0, config=None, **more):
    return resolve_autoscaling(
        annotations or {}, concurrency, config or KnativeConfig(), reachable=True, initialized=False, **more
    )


def test_without_annotations_it_is_the_structs_own_default():
    assert resolved() == Autoscaling()


@pytest.mark.parametrize(
    ("annotations", "concurrency", "total", "target"),
    [
        ({}, 0, 100, 70),
        ({}, 10, 10, 7),
        ({A + "target": "50"}, 0, 50, 35),
        ({A + "target": "50"}, 10, 10, 7),
        ({A + "target": "5"}, 10, 5, 3.5),
        ({A + "target-utilization-percentage": "100"}, 10, 10, 10),
        ({A + "targetUtilizationPercentage": "55"}, 0, 100, 55.0),
        ({A + "metric": "rps"}, 0, 200, 140),
        ({A + "metric": "rps", A + "target": "10"}, 5, 10, 7),
        ({A + "target": "0.01", A + "target-utilization-percentage": "1"}, 0, 0.01, 0.01),
    ],
)
def test_total_and_target(annotations, concurrency, total, target):
    out = resolved(annotations, concurrency)
    assert (out.total, out.target) == (pytest.approx(total), pytest.approx(target))
    assert out.metric == ("rps" if A + "metric" in annotations else "concurrency")


def test_rps_takes_its_own_utilization_whatever_the_config_says():
    config = parse({"config-autoscaler": {"container-concurrency-target-percentage": "50"}})
    assert resolved({A + "metric": "rps"}, config=config).target == pytest.approx(140)
    assert resolved(config=config).target == pytest.approx(50)


@pytest.mark.parametrize(
    ("window", "percentage", "panic"), [(60, 10, 6), (6, 10, 1), (60, 1, 1), (35, 10, 4), (3600, 100, 3600)]
)
def test_the_panic_window_is_a_share_of_the_stable_one_in_whole_seconds(window, percentage, panic):
    assert panic_window_s(window, percentage) == panic


def test_every_annotation_arrives():
    out = resolved(
        {
            A + "window": "40s",
            A + "panic-window-percentage": "20",
            A + "panic-threshold-percentage": "150",
            A + "target-burst-capacity": "-1",
            A + "scale-down-delay": "15m",
            A + "activation-scale": "3",
            A + "initial-scale": "2",
            A + "minScale": "1",
            A + "max-scale": "10",
            A + "scale-to-zero-pod-retention-period": "1m5s",
            A + "metric-aggregation-algorithm": "weightedExponential",
            "serving.knative.dev/progress-deadline": "30s",
        }
    )
    assert out == Autoscaling(
        stable_window_s=40, panic_window_s=8, panic_threshold=1.5, target_burst_capacity=-1, scale_down_delay_s=900,
        activation_scale=3, initial_scale=2, min_scale=1, max_scale=10, retention_s=65,
        algorithm="weighted-exponential", progress_deadline_s=30,
    )  # fmt: skip


def test_the_config_maps_defaults_count_where_there_is_no_annotation():
    config = parse(
        {
            "config-autoscaler": {
                "min-scale": "1", "max-scale": "7", "initial-scale": "3", "scale-to-zero-grace-period": "5s",
                "enable-scale-to-zero": "false", "activator-capacity": "50", "max-scale-up-rate": "10",
            },
            "config-deployment": {"progress-deadline": "77s"},
        }
    )  # fmt: skip
    out = resolved({A + "max-scale": "9"}, config=config)
    assert (out.min_scale, out.max_scale, out.initial_scale, out.scale_to_zero_grace_s) == (1, 9, 3, 5)
    assert (out.enable_scale_to_zero, out.activator_capacity, out.max_scale_up_rate) == (False, 50, 10)
    assert out.progress_deadline_s == 77
    assert resolved(config=config, progress_deadline_s=1).progress_deadline_s == 1


def test_an_annotation_that_does_not_parse_is_as_if_it_were_not_there():
    out = resolved(
        {
            A + "target": "many",
            A + "window": "1 minute",
            A + "min-scale": "-3",
            A + "max-scale": "1e3",
            A + "target-burst-capacity": "NaN",
        }
    )
    assert out == Autoscaling()
