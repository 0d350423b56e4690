"""The truth table of reliability.md §3.1.1."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.policy.retry import BUDGET_MIN, WAITING_MAX, RetryBudget, may_retry

SAFE = {
    "method": b"GET",
    "attempt": 1,
    "response_started": False,
    "bytes_written": True,
    "not_processed": False,
    "reused": True,
    "body_bytes": 0,
    "body_buffered": True,
    "within_budget": True,
}


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        # rule 1: never after a response byte
        ({"response_started": True}, False),
        ({"response_started": True, "bytes_written": False}, False),
        # rule 2: free while nothing was written, or when the peer says so
        ({"method": b"POST", "bytes_written": False, "body_bytes": 10}, True),
        ({"method": b"POST", "not_processed": True}, True),
        ({"method": b"POST", "not_processed": True, "body_bytes": 10, "body_buffered": True}, True),
        ({"method": b"POST", "not_processed": True, "body_bytes": 10, "body_buffered": False}, False),
        # rule 3: idempotent, nothing or a buffered body, on a connection that had served before
        ({}, True),
        ({"reused": False}, True),  # no body was sent: safe to repeat wherever it died
        ({"method": b"PUT", "body_bytes": 10, "body_buffered": True}, True),
        ({"method": b"PUT", "body_bytes": 10, "body_buffered": True, "reused": False}, False),
        ({"method": b"PUT", "body_bytes": 10, "body_buffered": False}, False),
        # rule 4: POST and PATCH never after bytes
        ({"method": b"POST"}, False),
        ({"method": b"PATCH"}, False),
        # rule 6: at most two attempts, within the budget
        ({"attempt": 2}, False),
        ({"attempt": 2, "bytes_written": False}, False),
        ({"within_budget": False}, False),
        ({"within_budget": False, "bytes_written": False}, False),
    ],
)
def test_truth_table(facts, verdict):
    assert may_retry(**{**SAFE, **facts}) is verdict


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"])
def test_idempotent_methods_may_be_repeated(method):
    assert may_retry(**{**SAFE, "method": method})


def test_a_started_response_forbids_it_whatever_else_holds():
    for method, written, processed, reused, buffered in itertools.product(
        (b"GET", b"POST"), (True, False), (True, False), (True, False), (True, False)
    ):
        assert not may_retry(
            method=method, attempt=1, response_started=True, bytes_written=written, not_processed=processed,
            reused=reused, body_bytes=0, body_buffered=buffered, within_budget=True,
        )  # fmt: skip


class Retry:
    """Notes when its turn came; `at_once` ends within its own turn."""

    def __init__(self, budget: RetryBudget, turns: list, *, at_once: bool = False) -> None:
        self.budget, self.turns, self.at_once = budget, turns, at_once

    def retry_now(self) -> None:
        self.turns.append(self)
        if self.at_once:
            self.budget.leave(self)


@pytest.mark.parametrize(("active", "share"), [(0, BUDGET_MIN), (10, BUDGET_MIN), (100, 20)])
def test_budget_is_a_fifth_of_the_active_requests_and_at_least_three_the_others_wait_their_turn(active, share):
    budget, turns = RetryBudget(), []
    budget.active = active
    retries = [Retry(budget, turns) for _ in range(share + 3)]
    for retry in retries:
        budget.enter(retry)
    assert turns == retries[:share]
    budget.leave(retries[share + 1])  # gave up while it waited
    budget.leave(retries[0])
    assert turns == retries[: share + 1]
    budget.leave(retries[1])
    assert turns == [*retries[: share + 1], retries[share + 2]]
    assert budget.retrying == share


def test_ten_thousand_retries_that_end_at_once_need_no_stack():
    budget, turns = RetryBudget(), []
    first = [Retry(budget, turns) for _ in range(BUDGET_MIN)]
    rest = [Retry(budget, turns, at_once=True) for _ in range(WAITING_MAX)]
    for retry in first + rest:
        assert budget.has_room()
        budget.enter(retry)
    assert not budget.has_room()
    budget.leave(first[0])
    assert turns == first + rest
    assert budget.retrying == BUDGET_MIN - 1


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "more", "fewer"]), st.integers(0, 50)), max_size=200))
def test_retries_in_flight_stay_in_the_budget_and_nobody_is_forgotten(moves):
    budget, turns, entered = RetryBudget(), [], []
    for move, number in moves:
        if move == "enter":
            retry = Retry(budget, turns)
            entered.append(retry)
            before = budget.retrying
            budget.enter(retry)
            assert budget.retrying <= max(before, BUDGET_MIN, -(-budget.active // 5))
        elif move == "leave" and entered:
            budget.leave(entered.pop(number % len(entered)))
        elif move == "more":
            budget.active += number
        elif move == "fewer":
            budget.active = max(0, budget.active - number)
    while entered:
        had_its_turn = [retry for retry in entered if retry in turns]
        assert had_its_turn, "somebody waits and nothing is in flight"
        for retry in had_its_turn:
            entered.remove(retry)
            budget.leave(retry)
    assert budget.retrying == 0
