"""How well `RateLimit` uses what a provider allows: a table of simulated providers and policies, in virtual time.

    python benchmarks/rate_limits.py [part of a scenario's name]

The callers use the library as any program does: `allm.generate` in a nursery. The provider is an adapter that keeps a
token bucket or a window, refuses what is too much with a 429, and tells its headers where the scenario says so. Nothing
here depends on the speed of the machine.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio
import trio.testing

import allm
from allm.adapters import Adapter
from allm.http.call import answer_headers

SECONDS = 120.0


@attrs.define(eq=False)
class Bucket:
    """Units that come in all the time."""

    rate: float
    most: float
    level: float = attrs.field(init=False)
    at: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.level = self.most

    def take(self, now: float, amount: float) -> bool:
        """Take `amount`, if it is there."""
        self.level = min(self.most, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < amount:
            return False
        self.level -= amount
        return True


@attrs.define(eq=False)
class Window:
    """Units that come all at once."""

    rate: float
    most: float
    seconds: float
    level: float = attrs.field(default=0.0, init=False)
    _number: int = attrs.field(default=-1, init=False)
    at: float = 0.0

    def take(self, now: float, amount: float) -> bool:
        """Take `amount`, if it is there."""
        self.at = now
        if int(now / self.seconds) != self._number:
            self._number, self.level = int(now / self.seconds), self.most
        if self.level < amount:
            return False
        self.level -= amount
        return True


@attrs.define(eq=False, kw_only=True)
class Provider(Adapter):
    """An adapter that refuses what is too much.

    Attributes:
        rate: Requests a second that are allowed, after a factor that changes with time.
        latency: Seconds that an answer takes, from and to.
        tells: Answers have headers with the limits.
        retry_after: What a refusal asks for.
        tokens: Tokens a minute, and what one request uses.
    """

    limit: Any
    latency: tuple[float, float] = (0.2, 0.4)
    tells: bool = False
    retry_after: float | None = None
    factor: Callable[[float], float] | None = None
    tokens: Any = None
    used: tuple[int, int] = (10, 5)
    ok: int = attrs.field(default=0, init=False)
    refused: int = attrs.field(default=0, init=False)
    spent: float = attrs.field(default=0.0, init=False)
    _random: random.Random = attrs.field(factory=lambda: random.Random(1), init=False)  # noqa: S311  (the same each time)
    _rate: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rate = self.limit.rate

    @property
    def provider(self) -> str:
        return "simulated"

    def prepare(self, request: allm.Request, _options: Any) -> Any:
        return request

    async def stream(self, _prepared: Any, emit: Any) -> None:
        await trio.sleep(0.05)  # the way there
        now = trio.current_time()
        if self.factor is not None:
            self.limit.rate = self._rate * self.factor(now)
        amount = self._random.randint(self.used[0], 2 * self.used[0]) + self.used[1]
        if self.tokens is not None:
            self.tokens.take(now, 0)  # what has come in
        fits = self.tokens is None or self.tokens.level >= amount
        good = fits and self.limit.take(now, 1)
        if good and self.tokens is not None:
            self.tokens.take(now, amount)
        if (told := answer_headers.get()) is not None and self.tells:
            told(dict(self._headers(now)))
        if not good:
            self.refused += 1
            await trio.sleep(0.02)
            raise allm.AdapterError("slow down", reason="rate_limited", status=429, retry_after=self.retry_after)
        self.ok += 1
        self.spent += amount
        await trio.sleep(self._random.uniform(*self.latency))
        usage = allm.Usage(input_tokens=amount - self.used[1], output_tokens=self.used[1], total_tokens=amount)
        await emit(allm.UsageReported(usage), allm.MessageCompleted(message=allm.assistant("x"), finish_reason="stop"))

    def _headers(self, now: float) -> Iterator[tuple[str, str]]:
        for kind, limit in (("requests", self.limit), ("tokens", self.tokens)):
            if limit is not None:
                if isinstance(limit, Window):
                    reset = limit.seconds - now % limit.seconds
                else:
                    reset = (limit.most - limit.level) / limit.rate
                yield f"x-ratelimit-limit-{kind}", f"{limit.most:.0f}"
                yield f"x-ratelimit-remaining-{kind}", str(int(limit.level))
                yield f"x-ratelimit-reset-{kind}", f"{1000 * reset:.0f}ms"


@attrs.frozen
class Outcome:
    """Of one run. `share` of what was allowed, and `wasted` of the requests, are in per cent."""

    share: float
    wasted: float
    refused: int
    failed: int
    done: int
    token_share: float | None


def run(
    make: Callable[[], Provider], limiters: Callable[[], list[Any]], *, at_once: int = 400, **engine: Any
) -> Outcome:
    """Let `at_once` callers ask one question after the other for two minutes; callers have the limiters in turn."""
    provider = make()
    failed = done = 0

    async def caller(engine: allm.Engine) -> None:
        nonlocal failed, done
        while True:
            response = await allm.generate(engine, "x")
            failed += response.error is not None
            done += 1

    async def main() -> None:
        engines = [allm.Engine(adapter=provider, model="m", limiter=limiter, **engine) for limiter in limiters()]
        async with trio.open_nursery() as nursery:
            for number in range(at_once):
                nursery.start_soon(caller, engines[number % len(engines)])
            await trio.sleep(SECONDS)  # and no deadline, which the calls would know
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    factors = [1.0 if provider.factor is None else provider.factor(second) for second in range(int(SECONDS))]
    allowed = provider._rate * sum(factors)
    tokens = None if provider.tokens is None else 100 * provider.spent / (provider.tokens.rate * SECONDS)
    return Outcome(
        100 * provider.ok / allowed,
        100 * provider.refused / max(1, provider.ok + provider.refused),
        provider.refused,
        failed,
        done,
        tokens,
    )


SCENARIOS: dict[str, Callable[[], Provider]] = {
    "50/s, 5 at once": lambda: Provider(limit=Bucket(50, 5)),
    "50/s, 50 at once": lambda: Provider(limit=Bucket(50, 50)),
    "50/s, Retry-After 1": lambda: Provider(limit=Bucket(50, 5), retry_after=1.0),
    "50/s, headers": lambda: Provider(limit=Bucket(50, 5), tells=True),
    "50/s, headers and Retry-After": lambda: Provider(limit=Bucket(50, 5), tells=True, retry_after=1.0),
    "3,000 a minute at once, headers": lambda: Provider(limit=Bucket(50, 3000), tells=True),
    "50/s in windows of 1 s": lambda: Provider(limit=Window(50, 50, 1.0)),
    "50/s in windows of 10 s, headers": lambda: Provider(limit=Window(50, 500, 10.0), tells=True),
    "50/s, answers take 2 to 20 s": lambda: Provider(limit=Bucket(50, 50), latency=(2, 20)),
    "500/s, 50 at once": lambda: Provider(limit=Bucket(500, 50)),
    "2/s, 2 at once": lambda: Provider(limit=Bucket(2, 2), latency=(1, 5)),
    "50/s, then 25/s": lambda: Provider(limit=Bucket(50, 5), factor=lambda now: 1 if now < 60 else 0.5),
    "25/s, then 50/s": lambda: Provider(limit=Bucket(50, 5), factor=lambda now: 0.5 if now < 60 else 1),
    "60,000 tokens a minute, headers": lambda: Provider(
        limit=Bucket(1e6, 1e6), tokens=Bucket(1000, 60_000), used=(200, 100), tells=True
    ),
    "60,000 tokens a minute": lambda: Provider(limit=Bucket(1e6, 1e6), tokens=Bucket(1000, 6000), used=(200, 100)),
}


def policies(make: Callable[[], Provider]) -> Iterator[tuple[str, Callable[[], list[Any]], dict[str, Any]]]:
    """The ways to call a provider: a name, the limiters, and settings of the run."""
    provider = make()
    if provider.tokens is None:
        given: dict[str, Any] = {"requests_per_minute": 60 * provider.limit.rate}
    else:
        given = {"tokens_per_minute": 60 * provider.tokens.rate}
    yield "RateLimit()", lambda: [allm.RateLimit()], {}
    yield "with the rate", lambda: [allm.RateLimit(**given)], {}
    yield "two programs", lambda: [allm.RateLimit(), allm.RateLimit()], {}
    yield "64 at once", lambda: [trio.CapacityLimiter(64)], {"at_once": 64}


def main() -> None:
    """Print the table."""
    logging.disable()
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    print("| provider | policy | of what is allowed | refused | failed |")
    print("| --- | --- | --- | --- | --- |")
    for name, make in SCENARIOS.items():
        if only in name:
            for policy, limiters, settings in policies(make):
                found = run(make, limiters, **settings)
                share = found.share if found.token_share is None else found.token_share
                refused = f"{found.refused:,} = {found.wasted:.2f} %"
                print(
                    f"| {name} | {policy} | {share:.1f} % | {refused} | {found.failed:,} of {found.done:,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
