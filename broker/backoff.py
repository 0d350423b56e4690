"""How long until the next attempt.

Path: attempts.py → [backoff] → Subscription.later.

    linear        D, 2D, 3D, …           exponential   D, 2D, 4D, …          capped, then ±10 %

The references have neither cap nor jitter (spec §9.6). With a subscriber that is down, everything that failed together
would come back together: then the wait is drawn from the whole interval ("full jitter", reliability.md BR-15).

Source: spec/eventing.md §9.6, §9.7, §31; RFC 9110 §10.2.3.
"""

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

from dataplane.resources.triggers import DeliveryPolicy

JITTER = 0.1
DOUBLINGS_MAX = 60  # 2**60 times any delay is beyond every cap
RETRY_AFTER_STATUS = frozenset((429, 503))


def backoff_s(policy: DeliveryPolicy, retry: int, random: Callable[[], float], *, full_jitter: bool = False) -> float:
    """Before retry number `retry` (1 = the first). Never longer than the cap and its jitter."""
    assert retry >= 1
    if policy.backoff == "linear":
        wait = policy.delay_s * retry
    else:
        wait = policy.delay_s * 2.0 ** min(retry - 1, DOUBLINGS_MAX)
    wait = min(wait, policy.max_backoff_s)
    if full_jitter:
        return wait * random()
    return wait * (1.0 - JITTER + 2.0 * JITTER * random())


def wait_s(
    policy: DeliveryPolicy,
    retry: int,
    random: Callable[[], float],
    *,
    status: int,
    retry_after: bytes | None,
    now: float,
    full_jitter: bool = False,
) -> float:
    """`backoff_s`, or what the subscriber asked for when that is longer. now: wall seconds.

    An asked-for pause is stretched by up to 10 %, never shortened: a thousand that heard "60 s" do not come at once.
    """
    wait = backoff_s(policy, retry, random, full_jitter=full_jitter)
    if retry_after is None or status not in RETRY_AFTER_STATUS or policy.retry_after_max_s == 0:
        return wait
    asked = retry_after_s(retry_after, now)
    if asked is None:
        return wait
    cap = policy.max_backoff_s if policy.retry_after_max_s is None else policy.retry_after_max_s
    return max(wait, min(asked, cap) * (1.0 + JITTER * random()))


def retry_after_s(value: bytes, now: float) -> float | None:
    """Seconds of a Retry-After, from a number or an HTTP date; None when it is neither."""
    text = value.strip()
    if text.isdigit():
        return float(text[:12])
    try:
        then = parsedate_to_datetime(text.decode("latin-1"))
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)  # asctime's form names no zone: GMT (RFC 9110 §5.6.7)
        return max(0.0, then.timestamp() - now)
    except (ValueError, OverflowError):
        return None
