"""One request's wait for the log, at times of the test's choosing."""

from types import SimpleNamespace

import pytest

from broker.intake import Intake
from broker.settings import BrokerSettings
from dataplane.errors import AppendTimeout
from dataplane.net.timers import NEVER

START, TIMEOUT = 1000.0, 10.0


class Ingress:
    def __init__(self) -> None:
        self.settings = BrokerSettings(append_timeout_s=TIMEOUT)
        self.held_bytes = 0
        self.held_bytes_max = 1 << 20
        self.refused: list[object] = []
        self.took: list[int] = []

    def now(self) -> float:
        return START

    def take(self, connection, intake, body) -> None:
        intake.append(SimpleNamespace(append=self.keep), [SimpleNamespace(event=None)], None)

    def keep(self, records, done) -> None:
        self.done = done

    def refuse(self, connection, intake, error) -> None:
        self.refused.append(error)

    def accepted(self, door, records, size_bytes, since) -> None:
        self.took.append(size_bytes)


@pytest.fixture
def ingress() -> Ingress:
    return Ingress()


def appended(ingress: Ingress) -> Intake:
    asked: list[float] = []
    connection = SimpleNamespace(deadline_at=asked.append, turn=None, respond=lambda *answer: None)
    intake = Intake(ingress, connection, "ns/b")
    intake.on_body(b"12345", True)
    assert asked == [START + TIMEOUT]
    return intake


def test_whoever_asks_early_is_told_when_to_ask_again(ingress: Ingress):
    intake = appended(ingress)
    assert intake.on_deadline(START + 1) == START + TIMEOUT
    assert intake.on_deadline(START + TIMEOUT - 0.001) == START + TIMEOUT
    assert ingress.refused == []


def test_at_the_deadline_it_is_given_up_once_and_its_bytes_stay_held(ingress: Ingress):
    intake = appended(ingress)
    assert intake.on_deadline(START + TIMEOUT) == NEVER
    assert [type(error) for error in ingress.refused] == [AppendTimeout]
    assert intake.on_deadline(START + TIMEOUT + 1) == NEVER
    assert len(ingress.refused) == 1
    assert ingress.held_bytes == 5
    ingress.done(None)
    assert ingress.held_bytes == 0
    assert ingress.took == [5]  # it became durable all the same


def test_nobody_waits_for_a_client_that_left(ingress: Ingress):
    intake = appended(ingress)
    intake.on_client_gone(None)
    assert intake.on_deadline(START + 1) == NEVER
    assert intake.on_deadline(START + TIMEOUT) == NEVER
    assert ingress.refused == []
    ingress.done(None)
    assert ingress.held_bytes == 0


def test_a_body_on_its_way_has_no_deadline_of_its_own(ingress: Ingress):
    intake = Intake(ingress, SimpleNamespace(), "ns/b")
    intake.on_body(b"1", False)
    assert intake.on_deadline(START) == NEVER
    assert ingress.held_bytes == 1
    intake.on_client_gone(None)
    assert ingress.held_bytes == 0
