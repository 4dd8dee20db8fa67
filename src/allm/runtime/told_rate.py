"""The rate that the headers of answers tell: pure arithmetic, with the time passed in."""

from __future__ import annotations

from math import inf

import attrs

from allm.data.attrs_classes import define
from allm.http.rate_headers import RateFact

__all__ = ["SHARE", "ToldRate"]

SHARE = 0.995
"""Of the rate of requests that is given or told: what is left over pays for the burst, and for rounding."""
HORIZON = 60.0
"""Seconds in which what is left may be used up."""
RESERVE = 0.1
"""Share of a limit that is left alone: with nothing left, a request that is larger than expected is refused."""
FEWEST = 2
"""Missing units that tell a rate: counts are rounded."""
STANDS_STILL = 0.1
"""Seconds by which an end may move in a second that stands still."""
_EPSILON = 1e-9


@define(eq=False)
class ToldRate:
    """The rate of one kind of limit, from what answers tell.

    A bucket that refills all the time tells its rate by how long it needs for what is missing. A window, at whose end
    all comes at once, leaves what remains for the time until then. Which of them it is shows after a moment: the end of
    a window stays where it is, and that of refilling moves on with each request.

    What is left is used up within a minute, not kept for the day that some limits are for: a program that makes a
    hundred calls once is not to make them at the rate of a whole day.
    """

    rate: float = attrs.field(default=inf, init=False)
    empty_until: float = attrs.field(default=-inf, init=False)
    _refill: float = attrs.field(default=inf, init=False)
    _anchor: tuple[float, float, float] | None = attrs.field(default=None, init=False)  # when; its reset; remaining
    _is_window: bool | None = attrs.field(default=None, init=False)

    def note(self, now: float, fact: RateFact) -> None:
        """Learn from one answer."""
        if fact.period is not None:
            self.rate = max(SHARE * fact.limit / fact.period, fact.remaining / HORIZON)
            return
        if fact.reset is None:
            return
        self._decide(now, now + fact.reset, fact)
        if self._is_window:
            left = max(fact.reset, fact.resolution, 0.001)
            self.rate = max(fact.remaining, 1.0) / min(left, HORIZON)
            self.empty_until = now + left if fact.remaining < 1 else -inf
        elif self._is_window is not None:
            missing = fact.limit - fact.remaining
            if missing >= FEWEST and fact.reset >= max(5 * fact.resolution, _EPSILON):  # else mostly rounding
                refill, weight = SHARE * missing / fact.reset, missing / (missing + 20)
                self._refill = refill if self._refill == inf else self._refill + weight * (refill - self._refill)
            self.rate = self._refill + max(0.0, fact.remaining - RESERVE * fact.limit) / HORIZON

    def _decide(self, now: float, end: float, fact: RateFact) -> None:
        if self._anchor is None:
            self._anchor = (now, end, fact.remaining)
            return
        since, earlier, remaining = self._anchor
        if now - since < max(0.25, 5 * fact.resolution):
            return
        stands, grown = (end - earlier) / (now - since) < STANDS_STILL, fact.remaining > remaining
        # A bucket that nobody takes from has a fixed end too, but what remains grows; in a window only with the next.
        if stands or not (self._is_window and grown):
            self._is_window = stands and not grown
        self._anchor = (now, end, fact.remaining)
