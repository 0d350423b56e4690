"""How fast a trigger may send: its own rate limit, and how it comes back after its subscriber was down.

Path: dispatcher.py ↔ window.py ↔ [pace].

    steady ── many failures in a row, no success for DOWN_AFTER_S ──▶ down: a few attempts a second find out
      ▲                                                                │ the first success
      └─── the rate of what waited grows until it is no limit ─── ramp: what is new goes, what waited is paced

Without it everything that waited arrives at once at a subscriber that has just got up. In the ramp what is new has the
rate that the subscriber is used to, and what waited (retries, and what came during the outage) has a bucket of its
own: a quarter of the steady rate at first, growing step by step, less than once the steady rate within RAMP_S, so that
both together stay below twice of it. When answers take much longer than they used to, or fail, it is halved, and grows
slowly from there on where that happened: the subscriber can do no more. Where they take as long with next to nothing
of what waited, that is how long they take now.

Pure: `now` is loop seconds.

Source: reliability.md BR-09, BR-15; spec/eventing.md §11.5 (rateLimit).
"""

DOWN_FAILURES = 20
DOWN_AFTER_S = 1.0
DOWN_RATE_PER_S = 10.0
RAMP_S = 60.0
RAMP_MIN_PER_S = 100.0  # taken as steady where nothing is known about the rate before the outage, or it was idle
NEW_SHARE = 1.1  # × steady, for what is new
LATE_SHARE = 0.25  # × steady, for what waited, at first
LATE_SHARE_MIN = 0.05
LATE_SHARE_MAX = 0.85  # within RAMP_S
STEP_S = 5.0
STEP_UP = 2.0**0.5  # twice as fast every two steps
STEP_UP_SLOWLY = 1.05  # near where it was too much
NEAR, FAR = 0.85, 1.1
STEP_DOWN = 0.5
CHECK_S = 0.25
CHECK_ANSWERS_MIN = 10
SETTLE_S = 1.0  # what is on its way when a step down was made is no reason for the next one
SLOWER = 2.0  # × what an answer took before the outage, and SLOWER_S more, is slow
SLOWER_S = 0.002
FAILED_SHARE = 0.1
UNLIMITED_PER_S = 50_000.0  # more than one core can send
RATE_WINDOW_S = 5.0
RATE_WEIGHT = 0.3
BURST_S = 0.1  # what a bucket holds, so that a batch is taken and not single events
RAMP_BURST_S = 0.25  # half of it is left to what is new


class Bucket:
    """Tokens at `rate_per_s`, at most `burst` of them. What was taken beyond is owed."""

    __slots__ = ("_at", "_burst_s", "_tokens", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, now: float, burst_s: float = BURST_S) -> None:
        assert rate_per_s > 0
        self._burst_s = burst_s
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * burst_s)
        self._tokens = self.burst
        self._at = now

    def available(self, now: float, above: float = 0.0) -> int:
        """How many may be taken so that `above` are left."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate_per_s)
        self._at = now
        return int(self._tokens - above + 1e-9)

    def take(self) -> None:
        self._tokens -= 1.0

    def wait_s(self, now: float, above: float = 0.0) -> float:
        """Until there is one above that; 0 = there is."""
        return 0.0 if self.available(now, above) >= 1 else (1.0 + above - self._tokens) / self.rate_per_s

    def change(self, rate_per_s: float, now: float) -> None:
        self.available(now)
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * self._burst_s)


class Ramp:
    """Watches the outcomes of one subscriber.

    whole: of all attempts; None as long as it sets no limit. late: of those that waited; None unless it comes back.
    steady_per_s: deliveries, and typical_s: how long one took, in spans without a limit of ours.
    """

    __slots__ = (
        *("down", "late", "steady_per_s", "typical_s", "whole"),
        *("_back_at", "_counted", "_failed", "_failing_since", "_failures", "_stepped_at", "_took_s", "_window_at"),
        "_too_much_per_s",
    )

    def __init__(self, now: float) -> None:
        self.whole: Bucket | None = None
        self.late: Bucket | None = None
        self.down = False
        self.steady_per_s = 0.0
        self.typical_s = 0.0
        self._failures = 0  # in a row
        self._failing_since = now
        self._back_at = now
        self._stepped_at = now
        self._too_much_per_s = UNLIMITED_PER_S  # a rate of what waited that made the subscriber slow
        self._window_at = now  # of the counts below
        self._counted = self._failed = 0
        self._took_s = 0.0

    def succeeded(self, now: float, took_s: float) -> bool:
        """The subscriber answered; whether it liked the event does not matter here. True: it was down."""
        self._failures = 0
        if self.down:
            self.down = False
            self._back_at = self._stepped_at = now
            self._too_much_per_s = UNLIMITED_PER_S
            self._begin(now)
            steady = self._steady
            self.late = Bucket(LATE_SHARE * steady, now)
            self.whole = Bucket(NEW_SHARE * steady + self.late.rate_per_s, now, RAMP_BURST_S)
            return True
        self._counted += 1
        self._took_s += took_s
        if self.whole is None and now - self._window_at >= RATE_WINDOW_S:
            self._measure(now)
        return False

    def failed(self, now: float) -> None:
        """It is away or swamped (outcome.away)."""
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        self._failed += 1
        if not self.down and self._failures >= DOWN_FAILURES and now - self._failing_since >= DOWN_AFTER_S:
            self.down = True
            self.whole, self.late = Bucket(DOWN_RATE_PER_S, now), None

    def refresh(self, now: float) -> None:
        """Let the ramp go on with time. Call it before a bucket is asked."""
        if self.late is not None and now - self._window_at >= CHECK_S:
            self._check(now, self.late)

    def _check(self, now: float, late: Bucket) -> None:
        if now - self._window_at >= RAMP_S:  # nobody asked for so long: nothing waits
            self._end()
            return
        rate, since_s = late.rate_per_s, now - self._stepped_at
        answers = self._counted + self._failed
        if answers < CHECK_ANSWERS_MIN and now - self._window_at < STEP_S:
            return
        slow = answers >= CHECK_ANSWERS_MIN and self._is_slow()
        if slow and rate <= LATE_SHARE_MIN * self._steady and since_s >= SETTLE_S and self._counted:
            self.typical_s = self._took_s / self._counted
        self._begin(now)
        if slow and since_s >= SETTLE_S:
            self._too_much_per_s = rate
            self._step(rate * STEP_DOWN, now, late)
        elif not slow and since_s >= STEP_S:
            if rate > FAR * self._too_much_per_s:
                self._too_much_per_s = UNLIMITED_PER_S  # it can do more than it could
            near = NEAR * self._too_much_per_s
            self._step(min(rate * STEP_UP, near) if rate < near else rate * STEP_UP_SLOWLY, now, late)

    def _step(self, rate: float, now: float, late: Bucket) -> None:
        assert self.whole is not None
        self._stepped_at = now
        steady = self._steady
        rate = max(rate, LATE_SHARE_MIN * steady)
        if now - self._back_at < RAMP_S:
            rate = min(rate, LATE_SHARE_MAX * steady)
        if rate >= NEAR * UNLIMITED_PER_S:
            self._end()
            return
        late.change(rate, now)
        self.whole.change(NEW_SHARE * steady + rate, now)

    @property
    def _steady(self) -> float:
        return max(self.steady_per_s, RAMP_MIN_PER_S)

    def _end(self) -> None:
        self.whole = self.late = None

    def _is_slow(self) -> bool:
        if self._failed > FAILED_SHARE * (self._counted + self._failed):
            return True
        return self.typical_s > 0 and self._took_s / self._counted > SLOWER * self.typical_s + SLOWER_S

    def _measure(self, now: float) -> None:
        """A moving average."""
        rate, took_s = self._counted / (now - self._window_at), self._took_s / self._counted
        if self.steady_per_s:
            rate = self.steady_per_s + RATE_WEIGHT * (rate - self.steady_per_s)
            took_s = self.typical_s + RATE_WEIGHT * (took_s - self.typical_s)
        self.steady_per_s, self.typical_s = rate, took_s
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._window_at = now
        self._counted = self._failed = 0
        self._took_s = 0.0
