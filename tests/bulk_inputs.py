"""Engines for bulk runs, which answer each text with itself, and count what they were asked."""

from __future__ import annotations

from collections import Counter

import allm
from allm import fake
from allm.providers import Fake


class Echo:
    """Answers `re: TEXT`; `scripts` has what the first requests with a text get instead.

    Attributes:
        asked: How often each text was asked.
        underway, peak: Requests at once, now and at most.
    """

    def __init__(self, scripts=None, seconds=0.0, **usage):
        self.asked = Counter()
        self.underway = self.peak = 0
        self._scripts = {text: list(script) for text, script in (scripts or {}).items()}
        self._seconds = seconds
        self._usage = usage
        self.fake = Fake(respond=self._respond)

    def engine(self, **fields):
        return allm.Engine(adapter=self.fake, **{"model": "m", **fields})

    async def _respond(self, request):
        import trio

        self.fake.requests.clear()
        text = request.messages[-1].text
        self.asked[text] += 1
        self.underway += 1
        self.peak = max(self.peak, self.underway)
        try:
            await trio.sleep(self._seconds)
        finally:
            self.underway -= 1
        if script := self._scripts.get(text):
            return script.pop(0)
        items = [fake.text(f"re: {text}")]
        return [*items, fake.usage(**self._usage)] if self._usage else items

    @property
    def total(self):
        return sum(self.asked.values())


def failing(reason="network_error", **fields):
    """A response that fails."""
    return [fake.error(allm.AdapterError("no", reason=reason, **fields))]


def texts(count):
    return [f"q{index}" for index in range(count)]


async def items_of(block):
    async with block as run:
        return [item async for item in run]


async def until_raised(block):
    """The items of a run that raises at its end, and what it raises."""
    items = []
    async with block as run:
        try:
            async for item in run:
                items.append(item)
        except Exception as error:
            return items, error
    raise AssertionError("the run did not raise")
