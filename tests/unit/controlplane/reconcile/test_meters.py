"""The control loop's queue in the numbers of Knative's controllers."""

from controlplane.reconcile.meters import WorkMeters
from dataplane.telemetry.metrics import Registry


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def value(registry: Registry, series: str) -> float:
    [line] = [line for line in registry.render().splitlines() if line.startswith(series + " ")]
    return float(line.rsplit(" ", 1)[1])


def test_an_item_is_counted_from_the_queue_to_its_commit():
    registry, time = Registry(), Time()
    meters = WorkMeters(registry, ["route"], time)
    item = ("route", "default/hello")
    meters.added(item, 100.0)
    assert value(registry, 'kn_workqueue_depth{name="route"}') == 1
    meters.started(item, 100.5)
    time.now = 102.5
    assert value(registry, 'kn_workqueue_depth{name="route"}') == 0
    assert value(registry, 'kn_workqueue_unfinished_work_seconds{name="route"}') == 2.0
    meters.ended(item, 103.5, retry=True)
    assert value(registry, 'kn_workqueue_unfinished_work_seconds{name="route"}') == 0
    assert value(registry, 'kn_workqueue_adds_total{name="route"}') == 1
    assert value(registry, 'kn_workqueue_retries_total{name="route"}') == 1
    assert value(registry, 'kn_workqueue_queue_duration_seconds_sum{name="route"}') == 0.5
    assert value(registry, 'kn_workqueue_process_duration_seconds_sum{name="route"}') == 3.0


def test_what_was_never_queued_has_no_wait():
    registry = Registry()
    meters = WorkMeters(registry, ["route"], Time())
    meters.started(("route", "x"), 100.0)
    meters.ended(("route", "x"), 101.0, retry=False)
    assert value(registry, 'kn_workqueue_retries_total{name="route"}') == 0
    assert value(registry, 'kn_workqueue_process_duration_seconds_count{name="route"}') == 1
    assert "kn_workqueue_queue_duration_seconds_sum" not in registry.render() or (
        value(registry, 'kn_workqueue_queue_duration_seconds_count{name="route"}') == 0
    )


def test_a_closed_loop_has_nothing_under_way():
    registry = Registry()
    meters = WorkMeters(registry, ["route"], Time())
    meters.added(("route", "x"), 1.0)
    meters.started(("route", "y"), 1.0)
    meters.forget()
    assert value(registry, 'kn_workqueue_depth{name="route"}') == 0
    assert value(registry, 'kn_workqueue_unfinished_work_seconds{name="route"}') == 0
