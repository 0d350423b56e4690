import logging

import pytest

from broker.store.meters import StoreMeters
from dataplane.telemetry.metrics import Registry


def test_letters_that_are_dropped_are_counted_and_said_in_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    meters = StoreMeters(registry)
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            meters.letters_dropped("ns/b", "ns/t", 1)
    assert 'dataplane_broker_letters_dropped_total{broker="ns/b",trigger="ns/t"} 1000' in registry.render()
    assert caplog.messages[0] == "letters_dropped broker=ns/b trigger=ns/t so_far=1"
    assert len(caplog.messages) == 10


def test_nothing_dropped_is_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    StoreMeters(Registry()).letters_dropped("ns/b", "ns/t", 0)
    assert caplog.messages == []
