"""Annotations of a revision template: autoscaling, networking, queue-proxy, progress deadline. Pure.

Path: validate_serving.py → [validate_annotations].

Paths are relative to `annotations`; a key stands in them as the user spelled it.

Source: spec/serving.md §5.3, §5.4, §13.1.
"""

from collections.abc import Iterator, Mapping

from controlplane import annotations as keys
from controlplane.admission.fielderror import FieldError, as_warnings, invalid, invalid_key, other, out_of_bounds, shown
from controlplane.admission.validate_metadata import whole_seconds
from controlplane.go_text import (
    duration_ns,
    format_go_duration,
    format_go_float,
    parse_go_float,
    parse_go_int,
    parse_quantity,
)
from controlplane.knative_settings import Autoscaler

_INT32_MAX = 2**31 - 1
_SECOND_NS = 10**9
_WINDOW_MAX_NS = 3600 * _SECOND_NS
_ALGORITHMS = ("", "linear", "weighted-exponential", "weightedExponential")
_QUEUE_RESOURCES = tuple(
    f"{keys.QUEUE}{resource}-resource-{bound}"
    for resource in ("cpu", "memory", "ephemeral-storage")
    for bound in ("request", "limit")
)


def template_annotations(annotations: Mapping[str, str], config: Autoscaler) -> Iterator[FieldError]:
    """Everything that a template's annotations are checked for."""
    yield from autoscaling(annotations, config)
    for key in annotations:
        if key.startswith(keys.NETWORKING) and key not in keys.NETWORKING_KEYS:
            yield invalid_key(key, "")
    yield from _queue_proxy(annotations)
    yield from whole_seconds(annotations, keys.PROGRESS_DEADLINE)


def autoscaling(annotations: Mapping[str, str], config: Autoscaler) -> Iterator[FieldError]:
    """§5.4, also for Revisions, whose annotations may be changed live."""
    yield from _class(annotations)
    yield from _scales(annotations, config)
    yield from _numbers(annotations)
    yield from _durations(annotations)
    yield from _metric(annotations, config)
    yield from _algorithm(annotations)
    yield from _initial_scale(annotations, config)


def _class(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    value = annotations.get(keys.CLASS)
    if value is not None and value.endswith(".knative.dev") and value not in (keys.KPA, keys.HPA):
        yield invalid(value, keys.CLASS)


def _count(annotations: Mapping[str, str], key: str) -> tuple[int, FieldError | None]:
    pair = keys.found(annotations, key)
    if pair is None:
        return 0, None
    spelling, text = pair
    try:
        value = parse_go_int(text, 32)
    except OverflowError:
        return 0, out_of_bounds(text, 0, _INT32_MAX, spelling)
    except ValueError:
        return 0, invalid(text, spelling)
    return (value, None) if value >= 0 else (0, out_of_bounds(text, 0, _INT32_MAX, spelling))


def _scales(annotations: Mapping[str, str], config: Autoscaler) -> Iterator[FieldError]:
    low, low_error = _count(annotations, keys.MIN_SCALE)
    high, high_error = _count(annotations, keys.MAX_SCALE)
    yield from (error for error in (low_error, high_error) if error)
    if high and high < low:
        yield other(f"max-scale={high} is less than min-scale={low}", keys.MAX_SCALE, keys.MIN_SCALE)
    limit = config.max_scale_limit
    if limit and high_error is None and (pair := keys.found(annotations, keys.MAX_SCALE)):
        if high > limit:
            yield out_of_bounds(high, 1, limit, pair[0])
        elif high == 0:
            yield other(f"max-scale=0 (unlimited), must be less than {limit}", pair[0])
    yield from _activation_scale(annotations.get(keys.ACTIVATION_SCALE), low, high)


def _activation_scale(text: str | None, low: int, high: int) -> Iterator[FieldError]:
    if text is None:
        return
    try:
        value = parse_go_int(text, 32)
    except (ValueError, OverflowError):
        yield invalid(text, keys.ACTIVATION_SCALE)
        return
    if low > value:
        yield other(f"min-scale={low} is greater than activation-scale={value}", keys.ACTIVATION_SCALE)
    elif high and high < value:
        yield other(f"max-scale={high} is less than activation-scale={value}", keys.ACTIVATION_SCALE)
    elif value < 2:
        yield other(f"activation-scale={value} must be greater than 1", keys.ACTIVATION_SCALE)


def _numbers(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    for key, low, high in (
        (keys.PANIC_WINDOW, 1, 100),
        (keys.PANIC_THRESHOLD, 110, 1000),
        (keys.TARGET_UTILIZATION, 1, 100),
        (keys.TARGET, None, None),
        (keys.TARGET_BURST_CAPACITY, None, None),
    ):
        pair = keys.found(annotations, key)
        if pair is None:
            continue
        spelling, text = pair
        try:
            value = parse_go_float(text)
        except ValueError:
            yield invalid(text, spelling)
            continue
        # Comparisons are written so that NaN, which parses, is refused.
        if low is not None and high is not None:
            if not low <= value <= high:
                yield out_of_bounds(text, low, high, spelling)
        elif key == keys.TARGET and not 0.01 <= value < float("inf"):
            yield other(f"target {shown(text)} should be at least 0.01", spelling)
        elif key == keys.TARGET_BURST_CAPACITY and not (0 <= value < float("inf") or value == -1):
            yield invalid(text, spelling)


def _durations(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    for key, low_ns, whole in (
        (keys.WINDOW, 6 * _SECOND_NS, True),
        (keys.SCALE_DOWN_DELAY, 0, True),
        (keys.RETENTION, 0, False),
    ):
        pair = keys.found(annotations, key)
        if pair is None:
            continue
        spelling, text = pair
        try:
            value = duration_ns(text)
        except ValueError:
            yield invalid(text, spelling)
            continue
        if not low_ns <= value <= _WINDOW_MAX_NS:
            yield out_of_bounds(text, format_go_duration(low_ns / 1e9), format_go_duration(3600), spelling)
        elif whole and value % _SECOND_NS:
            yield other("must be specified with at most second precision", spelling)


def _metric(annotations: Mapping[str, str], config: Autoscaler) -> Iterator[FieldError]:
    metric = annotations.get(keys.METRIC)
    if metric is None:
        return
    scaler = annotations.get(keys.CLASS, config.pod_autoscaler_class)
    if (scaler == keys.KPA and metric not in ("concurrency", "rps")) or (scaler == keys.HPA and not metric):
        yield invalid(metric, keys.METRIC)


def _algorithm(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    """Another class may have other algorithms; an unset class is not looked at, as upstream."""
    pair = keys.found(annotations, keys.ALGORITHM)
    if annotations.get(keys.CLASS) == keys.KPA and pair and pair[1] not in _ALGORITHMS:
        yield invalid(pair[1], pair[0])


def _initial_scale(annotations: Mapping[str, str], config: Autoscaler) -> Iterator[FieldError]:
    pair = keys.found(annotations, keys.INITIAL_SCALE)
    if pair is None:
        return
    spelling, text = pair
    try:
        value = parse_go_int(text)
    except (ValueError, OverflowError):
        yield invalid(text, spelling)
        return
    if value < 0:
        yield invalid(text, spelling + " must be greater than 0")
    elif value == 0 and not config.allow_zero_initial_scale:
        yield invalid(text, spelling + "=0 not allowed by cluster")


def _queue_proxy(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    pair = keys.found(annotations, keys.QUEUE + "resource-percentage")
    if pair is not None:
        spelling, text = pair
        yield from as_warnings(
            [
                other(
                    "Queue proxy resource percentage annotation is deprecated. Please use the available annotations "
                    "to explicitly set resource values per service",
                    f"[{spelling}]",
                )
            ]
        )
        try:
            value = parse_go_float(text)
        except ValueError:
            yield invalid(text, f"[{spelling}]")
        else:
            if not 0.1 <= value <= 100:
                number = format_go_float(value) if abs(value) < float("inf") else text
                yield out_of_bounds(number, 0.1, 100, f"[{spelling}]")
    for key in _QUEUE_RESOURCES:
        quantity = annotations.get(key)
        if quantity is not None:
            try:
                parse_quantity(quantity)
            except ValueError:
                yield invalid(quantity, f"[{key}]")
