"""What an answer cost: its token counts times the prices of the model that gave it.

Prices are those put in by the application, else those of genai-prices when that is installed, else the bundled ones.
Counts are inclusive (`Usage`): cached and written tokens are taken out of the prompt before it is priced, and reasoning
is part of the output already. What the provider charges besides tokens, such as searches, is in none of the figures.
"""

from __future__ import annotations

import functools
import importlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from allm.data.events import AdapterEvent, MessageCompleted, MessageStarted, UsageReported
from allm.data.request import Request
from allm.data.response import Usage
from allm.runtime import catalog
from allm.runtime.catalog import Prices

__all__ = ["Pricing", "embedding_usage", "load_prices"]

Costs = tuple[Decimal | None, Decimal | None]

# What genai-prices calls the providers that it is asked about.
_GENAI_NAMES = {
    "anthropic": "anthropic",
    "azure": "azure",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "openrouter": "openrouter",
    "together": "together",
    "xai": "x-ai",
}

# Ways to ask for another tariff, and the values that do not.
_TARIFFS = {
    "service_tier": ("auto", "default", "standard", "standard_only"),
    "speed": ("standard",),
    "inference_geo": ("global",),
}


@attrs.define(eq=False)
class Pricing:
    """Puts costs on what one answer reports of its usage, so that whoever folds its events gets them.

    Attributes:
        provider: Whose prices.
        model: Which model's: what was asked for, until the answer says who gives it.
        at: When the call is made: prices change.
    """

    provider: str
    model: str | None = None
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    _counted: Usage | None = attrs.field(default=None, init=False)  # what has been reported, without our costs

    @classmethod
    def of_call(cls, adapter: Any, request: Request) -> Pricing | None:
        """The pricing of a call, or None when there are no prices for it: a special tariff, nobody's adapter."""
        provider = adapter.provider
        if any(_is_special(name, request.options.get(name)) for name in _TARIFFS):
            return None
        load_prices(provider)
        return cls(provider, request.model)

    def on(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """The events, with costs wherever usage is reported.

        Counts come in pieces and costs depend on all of them, so each report carries the costs of all so far.
        """
        priced: list[AdapterEvent] = []
        for event in events:
            if isinstance(event, UsageReported):
                self._counted = event.usage if self._counted is None else self._counted.merge(event.usage)
                priced.append(UsageReported(attrs.evolve(event.usage, **self._costs())))
                continue
            if isinstance(event, MessageStarted | MessageCompleted) and event.model not in {None, self.model}:
                self.model = event.model
                costs = self._costs()
                if costs and isinstance(event, MessageCompleted):  # who answered was not known when usage was reported
                    priced.append(UsageReported(Usage(**costs)))
            priced.append(event)
        return tuple(priced)

    def _costs(self) -> dict[str, Any]:
        """The costs of what has been counted, as far as they are known and the provider has not reported them."""
        usage = self._counted or Usage()
        reported = (usage.input_cost, usage.output_cost, usage.total_cost)
        if self.model is None or any(cost is not None for cost in reported):
            return {}
        input_cost, output_cost = self._input_and_output(usage, self.model)
        total = None if input_cost is None or output_cost is None else input_cost + output_cost
        costs = {"input_cost": input_cost, "output_cost": output_cost, "total_cost": total}
        return {name: float(cost) for name, cost in costs.items() if cost is not None}

    def _input_and_output(self, usage: Usage, model: str) -> Costs:
        own = catalog.own(self.provider, model)
        if own is None and self.provider in _GENAI_NAMES:
            costs = _genai_costs(_GENAI_NAMES[self.provider], model, usage, self.at)
            if costs is not None:
                return costs
        info = own or catalog.lookup(self.provider, model)
        prices = info.prices_for(usage.input_tokens, self.at.date()) if info is not None else None
        if prices is None:
            return None, None
        return _input_cost(usage, prices), _cost(usage.output_tokens, prices.output)


def load_prices(provider: str) -> None:
    """Load what is asked for the prices of `provider`: it takes most of a second, better before a call than in it."""
    if provider in _GENAI_NAMES:
        _genai_prices()


def embedding_usage(provider: str, model: str | None, usage: Usage) -> Usage:
    """The usage of embedded texts with its costs, where the model's prices are known: all tokens are input."""
    tokens = usage.input_tokens if usage.input_tokens is not None else usage.total_tokens
    if model is None or tokens is None or usage.total_cost is not None:
        return usage
    counts = Usage(input_tokens=tokens, output_tokens=0)
    cost, _ = Pricing(provider, model)._input_and_output(counts, model)
    return usage if cost is None else attrs.evolve(usage, input_cost=float(cost), total_cost=float(cost))


def _is_special(name: str, value: Any) -> bool:
    return value is not None and value not in _TARIFFS[name]


def _cost(tokens: int | None, price: float) -> Decimal | None:
    """Exact: a binary fraction would make three times ten cents a little more than thirty."""
    return None if tokens is None else Decimal(repr(price)) * tokens / 1_000_000


def _input_cost(usage: Usage, prices: Prices) -> Decimal | None:
    if usage.input_tokens is None:
        return None
    cached, written = usage.cached_input_tokens or 0, usage.cache_write_input_tokens or 0
    for_an_hour = _written_for_an_hour(usage)
    plain = usage.input_tokens - cached - written
    if plain < 0:  # counts that contradict each other have no price
        return None
    write_price = _first(prices.cache_write, prices.input)
    parts = (
        _cost(plain, prices.input),
        _cost(cached, _first(prices.cached_input, prices.input)),
        _cost(written - for_an_hour, write_price),
        _cost(for_an_hour, _first(prices.cache_write_1h, write_price)),
    )
    return sum((part for part in parts if part is not None), Decimal(0))


def _first(price: float | None, otherwise: float) -> float:
    return otherwise if price is None else price


def _written_for_an_hour(usage: Usage) -> int:
    """Written tokens that the cache keeps for an hour: Anthropic's usage.cache_creation.ephemeral_1h_input_tokens."""
    tokens = usage.extra.get("ephemeral_1h_input_tokens")
    return min(tokens, usage.cache_write_input_tokens or 0) if isinstance(tokens, int) else 0


@functools.cache
def _genai_prices() -> Any:
    """The package genai-prices, or None when it is not installed."""
    try:
        return importlib.import_module("genai_prices")
    except ImportError:
        return None


def _genai_costs(provider: str, model: str, usage: Usage, at: datetime) -> Costs | None:
    """The costs by genai-prices; None when it is not installed, does not know the model, or not all of its prices."""
    package = _genai_prices()
    if package is None:
        return None
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_input_tokens,
        "cache_write_1h_tokens": _written_for_an_hour(usage) or None,
    }
    try:
        found = package.calc_price(package.Usage(**counts), model, provider_id=provider, genai_request_timestamp=at)
    except (LookupError, ValueError):  # ValueError: counts that contradict each other
        return None
    prices = found.model_price
    writes_nothing = usage.output_tokens == 0  # embeddings, whose models have no price for it
    if prices.input_mtok is None or (prices.output_mtok is None and not writes_nothing):  # it would count them as free
        return None
    return (
        None if usage.input_tokens is None else found.input_price,
        None if usage.output_tokens is None else found.output_price,
    )
