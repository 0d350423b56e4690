"""The truth table of reliability.md §3.1.1."""

import itertools

import pytest

from dataplane.policy.retry import BUDGET_MIN, RetryBudget, may_retry

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


def test_budget_is_a_fifth_of_the_active_requests_and_at_least_three():
    budget = RetryBudget()
    budget.retrying = BUDGET_MIN - 1
    assert budget.allows()
    budget.retrying = BUDGET_MIN
    assert not budget.allows()
    budget.active = 100
    budget.retrying = 19
    assert budget.allows()
    budget.retrying = 20
    assert not budget.allows()
