"""The table of spec §9.2 and §9.3, row by row."""

import base64

import pytest

from broker.outcome import Verdict, away, error_attributes, judge, reads_reply
from broker.store.contract import Failure

DELIVERED, REPLIED, AGAIN, FAILED = Verdict.DELIVERED, Verdict.REPLIED, Verdict.AGAIN, Verdict.FAILED
RETRIED = {404, 408, 409, 429, *range(500, 600)}


@pytest.mark.parametrize("status", [0, *range(100, 1000)])
def test_every_status_has_its_verdict(status):
    if status == 0 or status in RETRIED:
        wanted = AGAIN
    elif 200 <= status < 300:
        wanted = DELIVERED
    else:
        wanted = FAILED
    assert judge(status) is wanted


@pytest.mark.parametrize(
    ("content", "ignore", "verdict"),
    [
        ("none", False, DELIVERED),
        ("event", False, REPLIED),
        ("malformed", False, FAILED),
        ("too large", False, FAILED),
        ("none", True, DELIVERED),
        ("event", True, REPLIED),
        ("malformed", True, DELIVERED),
        ("too large", True, DELIVERED),
    ],
)
def test_what_a_reply_does_to_success(content, ignore, verdict):
    for status in (200, 201, 204, 299):
        assert judge(status, content, ignore_bad_reply=ignore) is verdict


def test_the_body_of_a_failure_changes_nothing():
    for content in ("event", "malformed", "too large"):
        assert judge(500, content) is AGAIN
        assert judge(400, content) is FAILED
        assert judge(307, content) is FAILED


@pytest.mark.parametrize(
    ("status", "on_202", "reads"),
    [(200, False, True), (201, False, True), (202, False, False), (202, True, True), (302, True, False), (500, True, False), (0, True, False)],
)  # fmt: skip
def test_which_answers_may_carry_a_reply(status, on_202, reads):
    assert reads_reply(status, reply_on_202=on_202) is reads


def test_who_is_away_and_who_is_only_unhappy():
    assert [s for s in (0, 200, 400, 404, 409, 429, 500, 501, 502, 503, 504) if away(s)] == [0, 429, 502, 503, 504]


def test_a_dead_letter_says_where_what_and_which_answer():
    failure = Failure(reason="rejected", code=422, dest="http://sub/", data=b"x" * 2000)
    found = error_attributes(failure)
    assert found["knativeerrordest"] == "http://sub/"
    assert found["knativeerrorcode"] == 422
    assert base64.b64decode(found["knativeerrordata"]) == b"x" * 768
    assert len(found["knativeerrordata"]) == 1024


def test_without_an_answer_the_code_is_500_and_the_data_is_why():
    found = error_attributes(Failure(reason="exhausted", dest="http://sub/", message="connect: connection refused"))
    assert found["knativeerrorcode"] == 500
    assert base64.b64decode(found["knativeerrordata"]) == b"connect: connection refused"


def test_no_attribute_is_empty():
    assert "knativeerrordata" not in error_attributes(Failure(reason="rejected", code=400, dest="http://sub/"))
