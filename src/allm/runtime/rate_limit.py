"""Who goes when: `RateLimit`, a limiter that sends requests no faster than a provider takes them.

All calls of a Trio run to one endpoint, with one model and one key, are in one line, whichever engine makes them. Who
is first in the line waits until `rates.py` lets it go; a refusal that somebody meets slows all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from math import inf, isfinite
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.constructors import explains_arguments
from allm.data.errors import AdapterError
from allm.data.problems import wrong_field
from allm.data.response import Usage
from allm.http.rate_headers import rate_facts
from allm.http.retry_after import retry_after_in
from allm.runtime.limiter import LimiterPlace, is_refusal
from allm.runtime.rates import Pace

__all__ = ["RateLimit", "RateStatistics"]

logger: logging.Logger = logging.getLogger("allm")

_BYTES_A_TOKEN = 4.0
_FIRST_OUTPUT = 500.0
"""Tokens that an answer is expected to have before the first has ended."""
_WEIGHT = 0.1
"""Of the newest usage, in the averages by which requests are estimated."""
_LONG_WAIT = 60.0
"""Seconds. The log tells of a longer wait of the first in line."""
_MANY_LINES = 1000
"""So often, those that are not used any more are looked for: each user of a program may bring a key."""
_UNUSED_SECONDS = 120.0
"""After this time nothing of a minute's limit is used up, so that a new line is as good."""


@frozen(kw_only=True)
class RateStatistics:
    """How the calls to one model of one account are doing.

    Attributes:
        provider, model: Who is asked.
        requests_per_minute: The rate now.
        sent, refused: Requests so far.
        waiting: Calls in the line.
        paused: Seconds for which nothing is sent, because the provider refuses everything.
    """

    provider: str | None
    model: str | None
    requests_per_minute: float
    sent: int
    refused: int
    waiting: int
    paused: float


def _seconds(_limit: Any, attribute: Any, value: Any, or_none: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        expected = f"a number greater than 0{or_none}"
        raise wrong_field("RateLimit", attribute.name, value, expected, tag="invalid_limit", reason="invalid_limits")


def _per_minute(limit: Any, attribute: Any, value: Any) -> None:
    if value is not None:
        _seconds(limit, attribute, value, ", or None")


@explains_arguments(
    rpm="use requests_per_minute=",
    tpm="use tokens_per_minute=",
    requests="use requests_per_minute=",
    tokens="use tokens_per_minute=",
)
@define(eq=False, kw_only=True)
class RateLimit:
    """Sends requests no faster than the provider takes them: `Engine(limiter=RateLimit(requests_per_minute=500))`.

    Without arguments it finds out: from the headers of answers, and from refusals. Engines that have the same
    `RateLimit` share it, for each endpoint, model and key.

    Args:
        requests_per_minute: What the account has; more is never sent.
        tokens_per_minute: Of input and output together. Requests are counted by an estimate when they are sent, and by
            their usage when they have ended.
        burst: How many requests may go at once after a pause; a minute may then have so many more. Default: hardly
            more than one.
        adaptive: Whether answers and refusals change the rate.
        patience: How long a call goes on that the provider refuses because there are too many, in seconds since its
            first refusal. Till then refusals cost none of its attempts.

    Raises:
        ValidationError: `invalid_limits`: a number is none, or not above 0.
    """

    requests_per_minute: float | None = attrs.field(default=None, validator=_per_minute)
    tokens_per_minute: float | None = attrs.field(default=None, validator=_per_minute)
    burst: int | None = attrs.field(default=None, validator=_per_minute)
    adaptive: bool = True
    patience: float = attrs.field(default=600.0, validator=_seconds)
    # The tasks of a line belong to one Trio run, and an engine may serve several.
    _runs: WeakKeyDictionary[trio.lowlevel.TrioToken, dict[Hashable, _Line]] = attrs.field(
        factory=lambda: WeakKeyDictionary[trio.lowlevel.TrioToken, dict[Hashable, _Line]](),  # noqa: PLW0108  (is below)
        init=False,
        repr=False,
    )

    async def acquire_on_behalf_of(self, borrower: LimiterPlace, /) -> None:
        """Wait until an attempt may be made.

        Raises:
            AdapterError: `rate_limited`: a deadline ends before; nothing was sent.
        """
        token = trio.lowlevel.current_trio_token()
        lines = self._runs.get(token)
        if lines is None:
            lines = self._runs[token] = {}
        line = lines.get(borrower.account)
        if line is None:
            if len(lines) % _MANY_LINES == _MANY_LINES - 1:
                for account in [account for account, old in lines.items() if old.is_unused()]:
                    del lines[account]
            line = lines[borrower.account] = _Line(borrower.provider, borrower.model, self._pace())
        turn = await line.enter(borrower)
        borrower.kept, borrower.on_headers = turn, line.told

    def release_on_behalf_of(self, borrower: LimiterPlace, /) -> None:
        """The attempt has ended; its `LimiterPlace` says how."""
        turn: _Turn | None
        turn, borrower.kept = borrower.kept, None
        if turn is not None:
            turn.line.leave(turn, borrower)

    def statistics(self) -> tuple[RateStatistics, ...]:
        """How the calls are doing, for each endpoint, model and key. It may be called from any thread."""
        return tuple(line.statistics() for lines in list(self._runs.values()) for line in list(lines.values()))

    def _pace(self) -> Pace:
        requests, tokens = (
            inf if given is None else given / 60 for given in (self.requests_per_minute, self.tokens_per_minute)
        )
        return Pace(requests, tokens, self.burst, self.adaptive, trio.current_time())


@define(eq=False)
class _Turn:
    """An attempt that is waiting, or under way."""

    line: _Line
    tokens: dict[str, float]
    size: int | None
    sent_at: float = -inf
    woken: trio.Event | None = None


@define(eq=False)
class _Line:
    """The attempts that wait for one limit, first come, first served."""

    provider: str | None
    model: str | None
    pace: Pace
    _waiting: dict[_Turn, None] = attrs.field(factory=dict["_Turn", None], init=False)  # in order
    _waiting_tokens: dict[str, float] = attrs.field(factory=dict[str, float], init=False)
    _a_byte: float = attrs.field(default=1 / _BYTES_A_TOKEN, init=False)
    _input: float | None = attrs.field(default=None, init=False)
    _output: float | None = attrs.field(default=None, init=False)
    _clock: trio.abc.Clock = attrs.field(factory=trio.lowlevel.current_clock, init=False)
    _warned_until: float = attrs.field(default=-inf, init=False)

    async def enter(self, place: LimiterPlace) -> _Turn:
        await trio.lowlevel.checkpoint_if_cancelled()
        turn = _Turn(self, self._estimate(place.size), place.size)
        now = trio.current_time()
        waited = bool(self._waiting) or self.pace.wait(now, turn.tokens) > 0
        if waited:
            ahead = self.pace.wait_in_line(now, len(self._waiting), self._waiting_tokens, turn.tokens)
            self._check(place, now, ahead)
            turn.tokens = await self._wait(turn, place)
            now = trio.current_time()
        self.pace.take(now, turn.tokens, waited=waited)
        turn.sent_at = now
        if waited:
            self._wake()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return turn

    async def _wait(self, turn: _Turn, place: LimiterPlace) -> dict[str, float]:
        """Wait in line; returns the estimate of the tokens by what is known in the end."""
        self._waiting[turn] = None
        self._add_waiting(turn, 1)
        try:
            while True:
                turn.woken = trio.Event()
                now = trio.current_time()
                if next(iter(self._waiting)) is not turn:
                    await turn.woken.wait()
                    self._check(place, trio.current_time(), self.pace.paused_until - trio.current_time())
                    continue
                tokens = self._estimate(turn.size)
                wait = self.pace.wait(now, tokens)
                if wait <= 0:
                    break
                self._check(place, now, wait)
                self._warn(now, wait)
                with trio.move_on_at(now + wait):
                    await turn.woken.wait()
        except BaseException:
            self._remove(turn)
            self._wake()  # it may have been the first
            raise
        self._remove(turn)
        return tokens

    def _remove(self, turn: _Turn) -> None:
        del self._waiting[turn]
        self._add_waiting(turn, -1)

    def _add_waiting(self, turn: _Turn, sign: int) -> None:
        for kind, count in turn.tokens.items():
            self._waiting_tokens[kind] = self._waiting_tokens.get(kind, 0.0) + sign * count

    def _wake(self) -> None:
        """Let the first in line look again."""
        if self._waiting:
            woken = next(iter(self._waiting)).woken
            if woken is not None:
                woken.set()

    def _check(self, place: LimiterPlace, now: float, wait: float) -> None:
        """Refuse a wait that would run into a deadline: the caller gets the error now, instead of a timeout later."""
        # A deadline in the past does not count: it cancels the wait, and the call with it, at once.
        if wait > 0 and now < min(place.deadline, trio.current_effective_deadline()) <= now + wait:
            raise AdapterError(
                f"the rate limit leaves no room for this request in the next {wait:.0f} s, and its deadline is earlier",
                reason="rate_limited",
                provider=self.provider,
                model=self.model,
                retry_after=wait,
            )

    def _warn(self, now: float, wait: float) -> None:
        if wait > _LONG_WAIT and now + wait > self._warned_until + _LONG_WAIT:
            self._warned_until = now + wait
            logger.warning(
                "the rate limit of %s for %s leaves no room for %.0f s; %d calls wait",
                self.provider,
                self.model,
                wait,
                len(self._waiting),
            )

    def told(self, headers: Mapping[str, str]) -> None:
        facts = rate_facts(headers)
        if facts:
            self.pace.told(trio.current_time(), facts)
            self._wake()

    def leave(self, turn: _Turn, place: LimiterPlace) -> None:
        now = trio.current_time()
        used = self._used(place.usage, turn)
        if used is not None:
            self.pace.correct(turn.tokens, used)
        error = place.error
        if error is not None and is_refusal(error):
            if used is None:
                self.pace.correct(turn.tokens, {})
            paused = self.pace.paused_until
            asked = retry_after_in(error.message) if error.retry_after is None else error.retry_after
            self.pace.refuse(now, turn.sent_at, asked)
            if self.pace.paused_until > paused:  # all who wait may have deadlines before that
                for waiting in self._waiting:
                    if waiting.woken is not None:
                        waiting.woken.set()
        self._wake()

    def is_unused(self) -> bool:
        """Whether nobody waits, nothing is paused and the last request was long ago."""
        quiet_since = max(self.pace.sent_at, self.pace.paused_until)
        return not self._waiting and trio.current_time() > quiet_since + _UNUSED_SECONDS

    def statistics(self) -> RateStatistics:
        pace = self.pace
        return RateStatistics(
            provider=self.provider,
            model=self.model,
            requests_per_minute=60 * pace.rate,
            sent=pace.sent,
            refused=pace.refused,
            waiting=len(self._waiting),
            paused=max(0.0, pace.paused_until - self._clock.current_time()),
        )

    def _estimate(self, size: int | None) -> dict[str, float]:
        """The tokens of a request, by its size and by what the ones before have used."""
        sent = self._input or 0.0 if size is None else size * self._a_byte
        received = _FIRST_OUTPUT if self._output is None else self._output
        return {"tokens": sent + received, "input-tokens": sent, "output-tokens": received}

    def _used(self, usage: Usage | None, turn: _Turn) -> dict[str, float] | None:
        """The tokens that an attempt has used, noted for the next estimates."""
        if usage is None or (usage.input_tokens is None and usage.total_tokens is None):
            return None
        sent, received = usage.input_tokens or 0, usage.output_tokens or 0
        if turn.size and sent:
            self._a_byte += _WEIGHT * (sent / turn.size - self._a_byte)
        self._input = sent if self._input is None else self._input + _WEIGHT * (sent - self._input)
        self._output = received if self._output is None else self._output + _WEIGHT * (received - self._output)
        total = sent + received if usage.total_tokens is None else usage.total_tokens
        return {"tokens": total, "input-tokens": sent, "output-tokens": received}
