"""How fast a trigger may send: its own rate limit, and how it comes back after its subscriber was down.

Path: dispatcher.py ↔ [pace].

    steady ── many failures in a row, no success for DOWN_AFTER_S ──▶ down: a few attempts a second find out
      ▲                                                                │ the first success
      └────────── after RAMP_S the rate doubles until it is no limit ── ramp: between 1 and 2 × the steady rate

Without it everything that waited arrives at once at a subscriber that has just got up.

Pure: `now` is loop seconds.

Source: reliability.md BR-09, BR-15; spec/eventing.md §11.5 (rateLimit).
"""

import math

DOWN_FAILURES = 20
DOWN_AFTER_S = 1.0
DOWN_RATE_PER_S = 10.0
RAMP_S = 60.0
RAMP_MIN_PER_S = 100.0  # where nothing is known about the rate before the outage, or it was idle
DOUBLING_S = 10.0
UNLIMITED_PER_S = 50_000.0  # more than one core can send
RATE_WINDOW_S = 5.0
RATE_WEIGHT = 0.3
BURST_S = 0.1  # what a bucket holds, so that a batch is taken and not single events


class Bucket:
    """Tokens at `rate_per_s`, at most `burst` of them. What was taken beyond is owed."""

    __slots__ = ("_at", "_tokens", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, now: float) -> None:
        assert rate_per_s > 0
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * BURST_S)
        self._tokens = self.burst
        self._at = now

    def available(self, now: float) -> int:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate_per_s)
        self._at = now
        return int(self._tokens + 1e-9)

    def take(self) -> None:
        self._tokens -= 1.0

    def wait_s(self, now: float) -> float:
        """Until there is one; 0 = there is."""
        return 0.0 if self.available(now) >= 1 else (1.0 - self._tokens) / self.rate_per_s

    def change(self, rate_per_s: float, now: float) -> None:
        self.available(now)
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * BURST_S)


class Ramp:
    """Watches the outcomes of one subscriber. `bucket` is None as long as it sets no limit."""

    __slots__ = (
        "_counted",
        "_failures",
        "_failing_since",
        "_ramp_since",
        "_window_since",
        "bucket",
        "down",
        "steady_per_s",
    )

    def __init__(self, now: float) -> None:
        self.bucket: Bucket | None = None
        self.down = False
        self.steady_per_s = 0.0
        self._failures = 0
        self._failing_since = now
        self._ramp_since = now
        self._window_since = now
        self._counted = 0

    def succeeded(self, now: float) -> None:
        """The subscriber answered; whether it liked the event does not matter here."""
        self._failures = 0
        if self.down:
            self.down = False
            self._ramp_since = now
            self._window_since, self._counted = now, 0
            self.bucket = Bucket(max(self.steady_per_s, RAMP_MIN_PER_S), now)
            return
        self._counted += 1
        if now - self._window_since >= RATE_WINDOW_S:
            self._measure(now)

    def failed(self, now: float) -> None:
        """It is away or swamped (outcome.away)."""
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        if not self.down and self._failures >= DOWN_FAILURES and now - self._failing_since >= DOWN_AFTER_S:
            self.down = True
            self.bucket = Bucket(DOWN_RATE_PER_S, now)

    def refresh(self, now: float) -> None:
        """Let the ramp rise with time. Call it before `bucket` is asked."""
        bucket = self.bucket
        if bucket is None or self.down:
            return
        passed = now - self._ramp_since
        rate = max(self.steady_per_s * (1.0 + min(1.0, passed / RAMP_S)), RAMP_MIN_PER_S)
        if passed > RAMP_S:
            rate *= 2.0 ** math.floor((passed - RAMP_S) / DOUBLING_S)
        if rate >= UNLIMITED_PER_S:
            self.bucket = None
            self._window_since, self._counted = now, 0
        elif rate != bucket.rate_per_s:
            bucket.change(rate, now)

    def _measure(self, now: float) -> None:
        """The steady rate, from spans without a limit of ours: a moving average."""
        rate = self._counted / (now - self._window_since)
        if self.bucket is None:
            self.steady_per_s = (
                rate if self.steady_per_s == 0.0 else self.steady_per_s + RATE_WEIGHT * (rate - self.steady_per_s)
            )
        self._window_since, self._counted = now, 0
