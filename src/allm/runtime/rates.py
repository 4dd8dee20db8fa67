"""How fast requests may follow each other: pure arithmetic, with the time passed in. `rate_limit.py` waits by it.

The rate of requests is the least of four:

- *given*: what the user says that the account has;
- *told*: what the headers of answers say (`ToldRate`);
- *seen*: after a refusal, around the rate at which the provider was seen to accept: a little below it at first, slowly
  up to it, and then, while nothing is refused, faster and faster above it (the curve of CUBIC, RFC 9438);
- *start*: before anything is known, and after an outage, from a few requests on, growing with each that had to wait.

Refusals that were under way together are one episode and cut the rate once. If nothing at all is accepted any more, the
rate is not what is wrong: then everybody pauses, for as long as the provider asks, or else for longer and longer.

Tokens have buckets beside it. Their amounts are estimated when a request is sent and corrected by its usage.
"""

from __future__ import annotations

from collections import deque
from math import inf

import attrs

from allm.data.attrs_classes import define
from allm.http.rate_headers import RateFact

__all__ = ["Bucket", "Pace", "ToldRate"]

SHARE = 0.995
"""Of the rate of requests that is given or told: what is left over pays for the burst, and for rounding."""
TOKEN_SHARE = 0.98
BURST_SECONDS = 0.05
"""So much of a second's requests may go at once: callers that wake together, and no more than small buckets hold."""
TOKEN_BURST_SECONDS = 60 * (1 - TOKEN_SHARE)
START_RATE, START_BURST = 20.0, 10.0
"""Requests a second, and at once, while nothing is known."""
START_GROWTH = 1.4
"""Requests a second that each request adds which had to wait: the rate grows fourfold in a second."""
START_SECONDS = 0.5
"""So long nothing can be said of the rate that is accepted."""
RESTART_RATE = 1.0
CUT = 0.05
"""Share of the accepted rate by which a refusal lowers it."""
RECOVERY = 8.0
"""Seconds after a cut until the accepted rate is tried again; the end of the start is far from it, so `FIRST`."""
FIRST_RECOVERY = 2.0
SEEN_SECONDS, SEEN_REQUESTS = 1.0, 40
"""The accepted rate is measured over so many seconds, or over more where that would be too few requests."""
OUTAGE = 3
"""Refusals, each sent after the one before was known, with none accepted between them, that make an outage."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LONG_PAUSE = 60.0
"""Seconds. A provider that asks for more has not been asked too fast: what it gives for a day is used up."""
SLOWEST = 1 / 3600
FEWEST = 2
"""Missing units that tell a rate: counts are rounded."""
STANDS_STILL = 0.1
"""Seconds by which an end may move in a second that stands still."""
_EPSILON = 1e-9


@define(eq=False)
class Bucket:
    """Units that come in at a rate. A request larger than the bucket waits until it is full and leaves a debt.

    Attributes:
        rate: Units a second.
        most: How many units are kept.
        level: How many there are; below zero, a debt.
        at: When that was.
    """

    rate: float
    most: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Add what has come in."""
        if now > self.at:  # which may be later, after a pause
            self.level = min(self.most, self.level + (now - self.at) * self.rate)
            self.at = now

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` may be taken, 0 now."""
        self.fill(now)
        lacking = min(amount, self.most) - self.level
        return lacking / self.rate if lacking > _EPSILON else 0.0

    def wait_in_line(self, now: float, ahead: float, amount: float) -> float:
        """Seconds until `amount` may be taken, after `ahead` has been."""
        self.fill(now)
        lacking = ahead + min(amount, self.most) - self.level
        return lacking / self.rate if lacking > _EPSILON else 0.0


@define(eq=False)
class ToldRate:
    """The rate of one kind of limit, from what answers tell.

    A bucket that refills all the time tells its rate by how long it needs for what is missing. A window, at whose end
    all comes at once, leaves what remains for the time until then. Which of them it is shows after a moment: the end of
    a window stays where it is, and that of refilling moves on with each request.
    """

    rate: float = attrs.field(default=inf, init=False)
    empty_until: float = attrs.field(default=-inf, init=False)
    _anchor: tuple[float, float, float] | None = attrs.field(default=None, init=False)  # when; its reset; remaining
    _is_window: bool | None = attrs.field(default=None, init=False)

    def note(self, now: float, fact: RateFact) -> None:
        """Learn from one answer."""
        if fact.period is not None:
            self.rate = SHARE * fact.limit / fact.period
            return
        if fact.reset is None:
            return
        self._decide(now, now + fact.reset, fact)
        if self._is_window:
            left = max(fact.reset, fact.resolution, 0.001)
            self.rate = max(fact.remaining, 1.0) / left
            self.empty_until = now + left if fact.remaining < 1 else -inf
        elif self._is_window is not None:
            missing = fact.limit - fact.remaining
            if missing >= FEWEST and fact.reset >= max(5 * fact.resolution, _EPSILON):  # else mostly rounding
                refill, weight = SHARE * missing / fact.reset, missing / (missing + 20)
                self.rate = refill if self.rate == inf else self.rate + weight * (refill - self.rate)

    def _decide(self, now: float, end: float, fact: RateFact) -> None:
        if self._anchor is None:
            self._anchor = (now, end, fact.remaining)
            return
        since, earlier, remaining = self._anchor
        if now - since < max(0.25, 5 * fact.resolution):
            return
        moved = (end - earlier) / (now - since)
        if not (self._is_window and fact.remaining > remaining):  # else the next window has begun
            self._is_window = moved < STANDS_STILL
        self._anchor = (now, end, fact.remaining)


@define(eq=False)
class Pace:
    """When the next request may go to one model of one account.

    Attributes:
        given: Requests a second that the user knows of, or infinity.
        given_tokens: Tokens a second.
        burst: How many requests may go at once after a while without any; None: hardly more than one.
        learns: Whether answers and refusals change the rate.
        sent, refused: Counts of requests.
        sent_at: When the last was sent.
        paused_until: Until then nothing goes, because the provider refuses everything.
    """

    given: float = inf
    given_tokens: float = inf
    burst: int | None = None
    learns: bool = True
    now: float = 0.0
    sent: int = attrs.field(default=0, init=False)
    refused: int = attrs.field(default=0, init=False)
    sent_at: float = attrs.field(default=-inf, init=False)
    paused_until: float = attrs.field(default=-inf, init=False)
    _start: float = attrs.field(default=inf, init=False)
    _ceiling: float = attrs.field(default=inf, init=False)
    _cut_at: float = attrs.field(default=-inf, init=False)
    _recovery: float = attrs.field(default=FIRST_RECOVERY, init=False)
    _pressed: float = attrs.field(default=0.0, init=False)  # seconds since the cut in which requests had to wait
    _sends: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=2048), init=False)
    _refusals: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=2048), init=False)
    _in_vain: int = attrs.field(default=0, init=False)
    _requests: Bucket = attrs.field(init=False)
    _tokens: dict[str, Bucket] = attrs.field(factory=dict[str, Bucket], init=False)
    _told: dict[str, ToldRate] = attrs.field(factory=dict[str, ToldRate], init=False)

    def __attrs_post_init__(self) -> None:
        if self.learns and self.given == inf:
            self._start = START_RATE
        self._requests = Bucket(1.0, 1.0, 0.0, self.now)
        self._set_rate()
        self._requests.level = START_BURST if self._start < inf and self.burst is None else self._requests.most
        if self.given_tokens < inf:
            self._tokens["tokens"] = self._token_bucket(self.given_tokens)

    def _token_bucket(self, rate: float) -> Bucket:
        most = max(1.0, rate * TOKEN_BURST_SECONDS)
        return Bucket(rate * TOKEN_SHARE, most, most, self.now)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self._requests.rate

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited, as far as is known."""
        return bool(self._tokens)

    def _set_rate(self) -> None:
        told = self._told["requests"].rate if "requests" in self._told else inf
        rate = max(SLOWEST, min(self.given * SHARE, told, self._seen(), self._start))
        most = max(1.0, BURST_SECONDS * rate) if self.burst is None else float(self.burst)
        if self._start < inf and not self.refused and self.burst is None:
            most = max(most, START_BURST)
        self._requests.rate = min(rate, 1e6)
        self._requests.most = most

    def _seen(self) -> float:
        if self._ceiling == inf:
            return inf
        return self._ceiling * (1 + CUT * ((self._pressed - self._recovery) / self._recovery) ** 3)

    def wait(self, now: float, tokens: dict[str, float]) -> float:
        """Seconds until the first in line may go, 0 now.

        Args:
            now: Never earlier than the last time.
            tokens: The estimate, by kind.
        """
        wait = max(self.paused_until - now, self._requests.wait(now, 1.0))
        for kind, bucket in self._tokens.items():
            wait = max(wait, bucket.wait(now, tokens.get(kind, 0.0)))
        for told in self._told.values():
            wait = max(wait, told.empty_until - now)
        return wait if wait > _EPSILON else 0.0

    def wait_in_line(self, now: float, ahead: int, ahead_tokens: dict[str, float], tokens: dict[str, float]) -> float:
        """The least number of seconds until a request may go that has others before it."""
        wait = max(0.0, self.paused_until - now)
        told = self._told["requests"].rate if "requests" in self._told else inf
        most = min(self.given, told)  # a rate that was found out may rise until then
        if most < inf:
            self._requests.fill(now)
            wait = max(wait, (ahead + 1 - self._requests.level) / most)
        for kind, bucket in self._tokens.items():
            wait = max(wait, bucket.wait_in_line(now, ahead_tokens.get(kind, 0.0), tokens.get(kind, 0.0)))
        return wait

    def take(self, now: float, tokens: dict[str, float], *, waited: bool = False) -> None:
        """A request goes now.

        Args:
            now: As for `wait`, which has said 0.
            tokens: As for `wait`.
            waited: It would have gone earlier: only then the rate is worth raising.
        """
        self._requests.level -= 1.0
        for kind, bucket in self._tokens.items():
            bucket.level -= tokens.get(kind, 0.0)
        last, self.sent_at = self.sent_at, now
        self.sent += 1
        if not self.learns:
            return
        if waited:
            self._pressed += min(now - last, 1.0)
            self._start += START_GROWTH
            self._set_rate()
        self._sends.append(now)

    def correct(self, estimated: dict[str, float], used: dict[str, float]) -> None:
        """A request has used another amount of tokens than was estimated."""
        for kind, bucket in self._tokens.items():
            bucket.level += estimated.get(kind, 0.0) - used.get(kind, 0.0)

    def told(self, now: float, facts: list[RateFact]) -> None:
        """An answer has told of limits."""
        if not self.learns:
            return
        for fact in facts:
            told = self._told.get(fact.kind)
            if told is None:
                told = self._told[fact.kind] = ToldRate()
            told.note(now, fact)
            if fact.kind != "requests":
                self._told_tokens(now, fact, told.rate)
            elif told.rate < inf:
                if self._in_vain < OUTAGE:
                    self._start = inf
                self._set_rate()

    def _told_tokens(self, now: float, fact: RateFact, rate: float) -> None:
        given = self.given_tokens if fact.kind == "tokens" else inf
        bucket = self._tokens.get(fact.kind)
        if rate < inf:
            self.now = now
            rate = min(rate, given)
            if bucket is None:
                bucket = self._tokens[fact.kind] = self._token_bucket(rate)
            bucket.fill(now)
            bucket.rate, bucket.most = rate * TOKEN_SHARE, max(1.0, rate * TOKEN_BURST_SECONDS)
        if bucket is not None:
            bucket.level = min(bucket.level, fact.remaining)

    def refuse(self, now: float, sent_at: float, retry_after: float | None = None) -> None:
        """A request was refused, because there are too many.

        Args:
            now: When that was known.
            sent_at: When it was taken.
            retry_after: How long the provider asks to wait, in seconds.
        """
        self.refused += 1
        if not self.learns:
            return
        self._refusals.append(sent_at)
        if retry_after is not None and retry_after > LONG_PAUSE:
            self._pause(now + retry_after)
        if sent_at <= self._cut_at:
            return  # of the episode that is known
        self._requests.fill(now)
        rate = self.rate
        if self._start < inf and sent_at - self._sends[0] < START_SECONDS:
            self._start = rate / 2  # the first requests were too many at once, which does not tell a rate
        elif self._accepted(max(self._cut_at, sent_at - SEEN_SECONDS), sent_at):
            self._in_vain = 0
            ceiling = min(rate, max(self._accepted_rate(sent_at), 0.5 * rate))
            self._recovery = FIRST_RECOVERY if self._ceiling == inf and self.given == inf else RECOVERY
            self._ceiling, self._start, self._pressed = ceiling, inf, 0.0
        else:
            self._in_vain += 1
            self._start = max(RESTART_RATE, min(rate, self._start) / 2)
            if self._in_vain >= OUTAGE:
                pause = retry_after or min(FIRST_PAUSE * 2.0 ** min(self._in_vain - OUTAGE, 16), LONGEST_PAUSE)
                self._pause(now + pause)
        self._cut_at = now
        self._set_rate()
        self._requests.level = min(self._requests.level, self._requests.most)

    def _pause(self, until: float) -> None:
        """Let nothing go until then, and only one at first."""
        self.paused_until = max(self.paused_until, until)
        self._start = min(self._start, RESTART_RATE)
        self._set_rate()
        self._requests.level = min(self._requests.level, 1.0)
        self._requests.at = max(self._requests.at, until)

    def _accepted(self, after: float, until: float) -> int:
        """How many of the requests sent in a time were not refused: a refusal comes fast, an answer may take long."""
        sent = sum(after < at <= until for at in self._sends)
        return max(0, sent - sum(after < at <= until for at in self._refusals))

    def _accepted_rate(self, until: float) -> float:
        begin = until - SEEN_SECONDS
        if len(self._sends) >= SEEN_REQUESTS:
            begin = min(begin, self._sends[-SEEN_REQUESTS])
        begin = max(begin, self._sends[0] - 1e-3, until - 60)
        return self._accepted(begin, until) / max(until - begin, 0.25)
