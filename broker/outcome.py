"""What an answer means: delivered, replied, again, or failed for good. One function, one table.

Path: deliver.py → [outcome] → attempts.py.

Where the references disagree this follows the specification's PICK: a 202 carries no reply, a redirect is a failure, an
answer with a body that is no event is a failure that is not retried (a handler that ran once is not run again to get
a better answer).

Source: spec/eventing.md §9.2, §9.3, §9.8, §31.
"""

import base64
import enum
from typing import Literal

from broker.store.contract import Failure

Content = Literal["none", "event", "malformed", "too large"]

BAD_REPLY_CODE = 502  # spec §9.3
NO_ANSWER_CODE = 500  # what a dead-letter sink reads when there was no status at all (spec §9.8, MT)
LOOP_CODE = 400  # what a broker's ingress says to an event whose hops are used up (spec §7.2)
ERROR_DATA = "knativeerrordata"
DATA_BYTES_MAX = 768  # of a failed answer: 1024 characters in base64 (spec §9.8)

_AGAIN = frozenset((404, 408, 409, 429))
# The subscriber is not there, or asks for a pause; 500 is the answer of one that is.
_AWAY = frozenset((0, 429, 502, 503, 504))


class Verdict(enum.Enum):
    DELIVERED = "delivered"  # settle
    REPLIED = "replied"  # its event goes to the broker, then settle
    AGAIN = "again"  # a retry may help
    FAILED = "failed"  # no retry helps: dead letter


def reads_reply(status: int, *, reply_on_202: bool) -> bool:
    """May an answer of this status carry a reply?"""
    return 200 <= status < 300 and (status != 202 or reply_on_202)


def judge(status: int, content: Content = "none", *, ignore_bad_reply: bool = False) -> Verdict:
    """status: 0 = no whole answer (refused, reset, no such name, TLS, timeout, no HTTP). content: what a reply was."""
    if 200 <= status < 300:
        if content == "none":
            return Verdict.DELIVERED
        if content == "event":
            return Verdict.REPLIED
        return Verdict.DELIVERED if ignore_bad_reply else Verdict.FAILED
    if status == 0 or status in _AGAIN or 500 <= status < 600:
        return Verdict.AGAIN
    return Verdict.FAILED


def away(status: int) -> bool:
    """Does it say that the subscriber is down or swamped, rather than that it dislikes this event? (BR-15)"""
    return status in _AWAY


def error_attributes(failure: Failure) -> dict[str, str | int]:
    """The extensions that a dead-letter sink gets beside the original event."""
    data = failure.data or (failure.message.encode() if not failure.code else b"")
    found: dict[str, str | int] = {
        "knativeerrordest": failure.dest,
        "knativeerrorcode": failure.code or NO_ANSWER_CODE,
    }
    if data:  # an attribute is never empty (spec §1.3)
        found[ERROR_DATA] = base64.b64encode(data[:DATA_BYTES_MAX]).decode()
    return found
