"""A member is sure of its partitions as long as the coordinator surely counts it in, and not a moment longer."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from broker.store.kafka.session import SURE, Session

HEARTBEAT = HeartbeatRequest("g", 1, "m")
SYNC = SyncGroupRequest("g", 1, "m", None, [])


class Coordinator:
    """Answers each request after `takes_s` of the clock with `error`."""

    def __init__(self):
        self.now, self.takes_s, self.error = 100.0, 0.0, 0

    async def _send_req(self, request):
        self.now += self.takes_s
        if isinstance(self.error, Exception):
            raise self.error
        return SimpleNamespace(error_code=self.error)


def watched():
    told = []
    coordinator = Coordinator()
    session = Session(10.0, lambda: coordinator.now, lambda: told.append(coordinator.now))
    session.watch(SimpleNamespace(_coordinator=coordinator))
    return coordinator, session, told


def ask(coordinator, request=HEARTBEAT):
    return asyncio.run(coordinator._send_req(request))


def test_before_the_first_answer_nothing_is_sure():
    assert not watched()[1].sure


@pytest.mark.parametrize("request_", [HEARTBEAT, SYNC])
def test_it_counts_from_when_the_request_was_sent(request_):
    coordinator, session, told = watched()
    coordinator.takes_s = 4.0
    ask(coordinator, request_)
    assert session.until == 100.0 + 10.0 * SURE
    assert session.sure
    assert told == [104.0]
    coordinator.now = session.until
    assert not session.sure, "nobody has to say so"


def test_an_answer_that_took_longer_than_the_session_makes_nothing_sure():
    coordinator, session, _ = watched()
    coordinator.takes_s = 11.0
    ask(coordinator)
    assert not session.sure


def test_while_a_rebalance_is_prepared_the_partitions_are_still_its_own():
    coordinator, session, _ = watched()
    coordinator.error = RebalanceInProgressError.errno
    ask(coordinator)
    assert session.sure


@pytest.mark.parametrize("error", [UnknownMemberIdError.errno, IllegalGenerationError.errno, UnknownMemberIdError()])
def test_a_refusal_or_no_answer_prolongs_nothing(error):
    coordinator, session, told = watched()
    ask(coordinator)
    coordinator.error, coordinator.now = error, 105.0
    if isinstance(error, Exception):
        with pytest.raises(UnknownMemberIdError):
            ask(coordinator)
    else:
        assert ask(coordinator).error_code == error
    assert session.until == 109.0
    assert told == [100.0]


def test_answers_to_other_requests_say_nothing_of_membership():
    coordinator, session, _ = watched()
    ask(coordinator, JoinGroupRequest("g", 10_000, 15_000, "m", None, "consumer", []))
    assert not session.sure


def test_another_consumer_begins_unsure():
    coordinator, session, _ = watched()
    ask(coordinator)
    session.watch(SimpleNamespace(_coordinator=Coordinator()))
    assert not session.sure
