"""What a snapshot says, with the process's settings where it says nothing."""

import pytest

from broker.settings import BrokerSettings
from broker.store.contract import Start
from broker.wanted import log_settings, resolved, start_of
from dataplane.resources.triggers import Broker, DeliveryPolicy, Target, Trigger


def broker(**more: object) -> Broker:
    return Broker(namespace="default", name="b", **more)  # type: ignore[arg-type]


def trigger(**more: object) -> Trigger:
    return Trigger(namespace="default", name="t", broker="b", subscriber=Target(url="http://x/"), **more)  # type: ignore[arg-type]


def test_a_brokers_own_settings_win_over_those_of_the_process():
    one = broker(settings={"retention_s": 60.0}, config={"topic": "x"}, secret={"password": "p"})
    found = log_settings(BrokerSettings(retention_s=1.0, quota_bytes=5), one)
    assert (found.retention_s, found.quota_bytes, found.config) == (60.0, 5, {"topic": "x", "password": "p"})


def test_what_a_delivery_does_not_say_the_process_does():
    settings = BrokerSettings(timeout_s=7.0, max_backoff_s=9.0)
    one = trigger(delivery=DeliveryPolicy(timeout_s=0.0, max_backoff_s=0.0, retry=3))
    assert resolved(one, settings).delivery == DeliveryPolicy(timeout_s=7.0, max_backoff_s=9.0, retry=3)
    said = trigger(delivery=DeliveryPolicy(timeout_s=1.0, max_backoff_s=2.0))
    assert resolved(said, settings) is said


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", Start("latest")),
        ("latest", Start("latest")),
        ("earliest", Start("earliest")),
        ("2026-11-27T06:00:00Z", Start("time", time_s=1795759200.0)),
        ("17", Start("position", position="17")),
        ("3/1042", Start("position", position="3/1042")),
        ("1795759200000-0@0", Start("position", position="1795759200000-0@0")),
    ],
)
def test_a_start_is_a_word_a_time_or_a_position(text: str, start: Start):
    assert start_of(text) == start


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        start_of("2026-11-27T06:00:00")
