"""What an answer cost: its token counts times the prices of the model that gave it.

Prices are those put in by the application, else those of genai-prices when that is installed, else the bundled ones.
What the provider itself reports wins. Counts are inclusive (`Usage`): cached and written tokens are taken out of the
prompt before it is priced, so are sound and images where they cost something else than text, and reasoning is part of
the output already. Searches of the provider's own are in the total (`hosted_prices.py`); with a tool of its own whose
price is not known, there is no total.

The prices are those of the standard tariff: an answer that was served by another one has no costs here.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import attrs

from allm.data.attrs_classes import define
from allm.data.content import HostedCall
from allm.data.events import AdapterEvent, HostedCallCompleted, MessageCompleted, MessageStarted, UsageReported
from allm.data.problems import Problem, refuse, shown, wrong_type
from allm.data.request import Request
from allm.data.response import COSTS, Usage
from allm.runtime import catalog
from allm.runtime.catalog import Prices

__all__ = ["Pricing", "Tally", "charged", "load_prices", "price", "prices_are_loaded"]

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

# What decides the tariff, and the values that mean the standard one.
_STANDARD = {
    "service_tier": ("auto", "default", "standard", "standard_only", "on_demand"),  # Groq, Vertex AI: on demand
    "speed": ("standard",),
    "inference_geo": ("global", "not_available"),
}
# Words in the names of models for images and sound, whose prices by the token are beside those of searches.
_IN_UNITS = ("image", "transcribe", "tts")
# Tokens of an answer's `Usage.extra` that cost something else than text, and the price that they need.
_OTHER_OUTPUT = {"output_audio_tokens": "output_audio", "output_image_tokens": "output_image"}
_GENAI_PRICES = {
    "input_audio_tokens": "input_audio_mtok",
    "output_audio_tokens": "output_audio_mtok",
    "output_image_tokens": "output_image_mtok",
}


@define(eq=False)
class Tally:
    """The usage of the requests that the tools of a step have made, as their providers report it; None before any."""

    usage: Usage | None = None


charged: ContextVar[tuple[Any, ...] | None] = ContextVar("allm_charged", default=None)
"""What every request made here is charged to, outermost first; None: to nothing, which most requests are."""

_UNPRICED = frozenset(get_args(AdapterEvent)) - {UsageReported, MessageStarted, MessageCompleted, HostedCallCompleted}


@define(eq=False)
class Pricing:
    """Puts costs on what one answer reports of its usage, so that whoever folds its events gets them.

    Attributes:
        provider: Whose prices.
        model: Which model's: what was asked for, until the answer says who gives it.
        at: When the call is made: prices change.
        asked_for: What the request says of the tariff; it counts until the answer says what it was served by.
        in_batch: It is one of a batch, which costs half (https://platform.openai.com/docs/guides/batch,
            https://platform.claude.com/docs/en/build-with-claude/batch-processing, https://ai.google.dev/pricing).
        renames: The answer names the model otherwise than the price list does.
    """

    provider: str
    model: str | None = None
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    asked_for: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    in_batch: bool = False
    renames: bool = False
    _served: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _counted: Usage | None = attrs.field(default=None, init=False)  # what has been reported, without our costs
    _hosted: dict[str, HostedCall] = attrs.field(factory=dict[str, HostedCall], init=False)  # by id
    _known: dict[str, Any] | None = attrs.field(default=None, init=False)  # its costs, while nothing has changed

    @classmethod
    def of_call(cls, adapter: Any, request: Request, *, in_batch: bool = False) -> Pricing:
        """The pricing of a call."""
        host = getattr(adapter, "via", None)  # Claude costs what the cloud asks for it, by the name that it has there
        provider = adapter.provider if host is None else getattr(host, "provider", adapter.provider)
        load_prices(provider)
        asked_for = {"service_tier": request.service_tier, **request.options}
        return cls(provider, request.model, asked_for=asked_for, in_batch=in_batch, renames=host is not None)

    def on(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """The events, with costs wherever usage is reported.

        Counts come in pieces and costs depend on all of them, so each report carries the costs of all so far. What
        decides the costs may also come at the end only: then they are reported once more.
        """
        priced: list[AdapterEvent] = []
        for event in events:
            if type(event) in _UNPRICED:  # most
                priced.append(event)
                continue
            if isinstance(event, UsageReported):
                self._serve(event.service_tier, event.usage.extra)
                self._count(event.usage)
                usage = attrs.evolve(event.usage, **self._costs())
                priced.append(UsageReported(usage, service_tier=event.service_tier))
                continue
            if isinstance(event, HostedCallCompleted):
                self._hosted[event.id], self._known = event.call, None
            if isinstance(event, MessageStarted | MessageCompleted):
                before = self._known
                if event.model and event.model != self.model and not self.renames:
                    self.model, self._known = event.model, None
                if isinstance(event, MessageCompleted):
                    self._serve(event.service_tier, {})
                    if self._counted is not None and self._costs() != before:
                        priced.append(UsageReported(attrs.evolve(self._counted, **self._costs())))
            priced.append(event)
        return tuple(priced)

    def _serve(self, tier: str | None, extra: Mapping[str, Any]) -> None:
        if tier is None and not extra:
            return
        said = {**extra, "service_tier": tier}
        new = {name: said[name] for name in _STANDARD if said.get(name) is not None}
        if any(self._served.get(name) != value for name, value in new.items()):
            self._served.update(new)
            self._known = None

    def _count(self, usage: Usage) -> None:
        known, self._known = self._counted, None
        if known is None:
            self._counted = usage
            return
        merged = known.merge(usage)
        if _has_costs(known) and not _has_costs(usage):  # what was reported before still holds
            merged = attrs.evolve(merged, **_reported(known))
        self._counted = merged

    def _is_special(self) -> bool:
        """Whether the answer has another tariff than the standard one."""
        for name, standard in _STANDARD.items():
            value = self._served.get(name, self.asked_for.get(name))
            word = str(value).lower()
            if value is not None and word not in standard and not (self.in_batch and word == "batch"):
                return True
        return False

    def _costs(self) -> dict[str, Any]:
        """The costs of what has been counted: those that the provider has reported, else as far as they are known."""
        if self._known is None:
            self._known = self._priced()
        return self._known

    def _priced(self) -> dict[str, Any]:
        usage = self._counted or Usage()
        reported = _reported(usage)
        if self.model is None or self._is_special() or any(cost is not None for cost in reported.values()):
            return reported
        input_cost, output_cost = self._input_and_output(usage, self.model)
        if self.in_batch:
            input_cost, output_cost = (None if cost is None else cost / 2 for cost in (input_cost, output_cost))
        total = None if input_cost is None or output_cost is None else input_cost + output_cost
        if total is not None and self._hosted:
            from allm.runtime.hosted_prices import hosted_cost

            calls = self._hosted.values()
            hosted = hosted_cost(self.provider, self.model, calls, usage.extra, self.asked_for)
            total = None if hosted is None else total + hosted
        costs = {"input_cost": input_cost, "output_cost": output_cost, "total_cost": total}
        return {name: None if cost is None else float(cost) for name, cost in costs.items()}

    def cost_of(self, usage: Usage) -> Decimal | None:
        """US dollars of these counts by the model's prices, whatever the usage says itself; None: not known."""
        if self.model is None or self._is_special():
            return None
        input_cost, output_cost = self._input_and_output(usage, self.model)
        return None if input_cost is None or output_cost is None else input_cost + output_cost

    @property
    def has_prices(self) -> bool:
        """Whether the standard tariff of the model is known."""
        counts = Usage(input_tokens=1, output_tokens=0)
        return self.model is not None and self._input_and_output(counts, self.model)[0] is not None

    def _input_and_output(self, usage: Usage, model: str) -> Costs:
        own = catalog.own(self.provider, model)
        if own is None and self.provider in _GENAI_NAMES:
            costs = _genai_costs(_GENAI_NAMES[self.provider], model, usage, self.at)
            if costs is not None:
                return costs
        info = own or catalog.lookup(self.provider, model)
        prices = info.prices_for(usage.input_tokens, self.at.date()) if info is not None else None
        if prices is None and any(word in model for word in _IN_UNITS):
            from allm.runtime.unit_prices import token_prices

            prices = token_prices(self.provider, model)
        if prices is None:
            return None, None
        return _input_cost(usage, prices), _output_cost(usage, prices)


def _reported(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in sorted(COSTS)}


def _has_costs(usage: Usage) -> bool:
    return usage.total_cost is not None or usage.input_cost is not None or usage.output_cost is not None


def load_prices(provider: str) -> None:
    """Load what is asked for the prices of `provider`: it takes most of a second, better before a call than in it."""
    if provider in _GENAI_NAMES:
        _genai_prices()
        _asked.add("genai_prices")


_asked: set[str] = set()


def prices_are_loaded(provider: str) -> bool:
    """Whether `load_prices` has nothing to do."""
    return provider not in _GENAI_NAMES or bool(_asked)


def price(usage: Usage, model: str) -> float | None:
    """What these tokens cost at the prices of a model, in US dollars.

        allm.price(response.usage, "anthropic:claude-sonnet-4-5")

    The prices are those of the catalog (`allm.models`), or of the package genai-prices when that is installed. Costs
    that the usage has already are of the model that was asked, and are not looked at.

    Args:
        usage: Counts of tokens; one that is None costs nothing.
        model: `provider:model`, as for `Engine.from_model`.

    Returns:
        The cost; None where the price is not known.

    Raises:
        ValidationError: The model has no provider, or the usage is none.
    """
    if not isinstance(usage, Usage):
        refuse([wrong_type(("usage",), usage, "a Usage, such as response.usage")])
    provider, _, name = model.partition(":") if isinstance(model, str) else ("", "", "")
    if not provider or not name:
        sentence = f"is {shown(model)}; expected 'provider:model', such as 'openai:gpt-5.4'"
        refuse([Problem(("model",), "invalid_format", sentence)])
    load_prices(provider)
    counts = attrs.evolve(usage, input_tokens=usage.input_tokens or 0, output_tokens=usage.output_tokens or 0)
    cost = Pricing(provider, name).cost_of(counts)
    return None if cost is None else float(cost)


def _cost(*parts: tuple[int, float]) -> Decimal:
    """Of so many tokens at a price each. Exact: a binary fraction would make three times ten cents more than thirty."""
    total = Decimal(0)
    for tokens, price in parts:
        if tokens:
            total += _exact(price) * tokens
    return total / 1_000_000


@functools.lru_cache(maxsize=256)
def _exact(price: float) -> Decimal:
    return Decimal(repr(price))


def _input_cost(usage: Usage, prices: Prices) -> Decimal | None:
    if usage.input_tokens is None:
        return None
    cached, written = usage.cached_input_tokens or 0, usage.cache_write_input_tokens or 0
    if not (cached or written or usage.extra) and usage.input_tokens >= 0:
        return _cost((usage.input_tokens, prices.input))
    for_an_hour = _written_for_an_hour(usage)
    audio, cached_audio = _special(usage, "input_audio_tokens"), _special(usage, "cache_audio_read_tokens")
    images = _special(usage, "input_image_tokens") if prices.input_image is not None else 0  # else they cost the same
    plain = usage.input_tokens - cached - written - (audio - cached_audio) - images
    if min(plain, audio - cached_audio, cached - cached_audio) < 0:  # counts that contradict each other have no price
        return None
    if audio and prices.input_audio is None:
        return None
    audio_price = _first(prices.input_audio, prices.input)
    write_price = _first(prices.cache_write, prices.input)
    return _cost(
        (plain, prices.input),
        (images, _first(prices.input_image, prices.input)),
        (audio - cached_audio, audio_price),
        (cached_audio, _first(prices.cached_input_audio, audio_price)),
        (cached - cached_audio, _first(prices.cached_input, prices.input)),
        (written - for_an_hour, write_price),
        (for_an_hour, _first(prices.cache_write_1h, write_price)),
    )


def _output_cost(usage: Usage, prices: Prices) -> Decimal | None:
    if usage.output_tokens is None:
        return None
    others = {price: _special(usage, name) for name, price in _OTHER_OUTPUT.items() if name in usage.extra}
    plain = usage.output_tokens - sum(others.values())
    known = {price: getattr(prices, price) for price, count in others.items() if count}
    if plain < 0 or None in known.values():
        return None
    return _cost((plain, prices.output), *((others[name], price) for name, price in known.items() if price))


def _special(usage: Usage, name: str) -> int:
    """A count of `Usage.extra`."""
    count = usage.extra.get(name)
    return count if type(count) is int and count > 0 else 0


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
    special = {name: count for name in (*_GENAI_PRICES, "input_image_tokens") if (count := _special(usage, name))}
    if "input_audio_tokens" in special:  # where cached sound is not told, what is cached is text
        special["cache_audio_read_tokens"] = _special(usage, "cache_audio_read_tokens")
    if "input_image_tokens" in special:
        special["cache_image_read_tokens"] = 0
    counts |= special
    try:
        found = package.calc_price(package.Usage(**counts), model, provider_id=provider, genai_request_timestamp=at)
    except (LookupError, ValueError):  # ValueError: counts that contradict each other
        return None
    prices = found.model_price
    writes_nothing = usage.output_tokens == 0  # embeddings, whose models have no price for it
    if prices.input_mtok is None or (prices.output_mtok is None and not writes_nothing):  # it would count them as free
        return None
    if any(getattr(prices, price) is None for name, price in _GENAI_PRICES.items() if name in special):
        return None  # it would count them as text
    return (
        None if usage.input_tokens is None else found.input_price,
        None if usage.output_tokens is None else found.output_price,
    )
