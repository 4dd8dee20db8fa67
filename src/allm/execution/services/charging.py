"""What a call of a service costs: by the usage in its response, else estimated from what was sent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AllmError
from allm.data.image_request import ImageRequest, ImageUsage
from allm.data.media import Media
from allm.data.message import user
from allm.data.request import Request
from allm.data.response import Usage
from allm.data.speech import SpeechRequest, TranscriptionRequest
from allm.data.token_count import PER_MESSAGE, estimated_tokens, least_tokens
from allm.execution.budgeting import Rates, is_refusal, tokens_of
from allm.runtime.budgets import Account, Charge, Cost
from allm.runtime.costs import Pricing
from allm.runtime.service_costs import image_cost
from allm.runtime.unit_prices import sound_cost, unit_price

__all__ = ["ServiceCharge"]

_SENT = ("inputs", "prompt", "text", "instructions", "query", "documents", "audio", "images")
"""The fields of requests that a model reads."""
_NOTHING = Cost()


@define(eq=False)
class ServiceCharge:
    """The cost of one request of a service, each attempt of it.

    Attributes:
        rates: None where no budget asks.
        provider: Whose prices.
        request: What is sent.
    """

    charge: Charge
    rates: Rates | None
    provider: str
    request: Any

    @classmethod
    def of(cls, accounts: tuple[Account, ...], provider: str, request: Any) -> ServiceCharge:
        """Of a request that is about to be sent.

        Raises:
            BudgetExceeded: It does not fit, or its price is not known and a budget is in US dollars.
        """
        charge = Charge(accounts)
        if not charge.budgets:
            return cls(charge, None, provider, request)
        sent = Request((user(*_sent(request)),))
        least, estimate = least_tokens(sent), estimated_tokens(sent) - PER_MESSAGE
        by_unit = _by_unit(provider, request.model, request)
        rates = Rates.of(charge, Pricing(provider, request.model), least, estimate, answer=0, by_unit=by_unit)
        charge.check(rates.least)
        return cls(charge, rates, provider, request)

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Hold the cost while the block makes the request; if it fails, that is its end.

        Raises:
            BudgetExceeded: It does not fit.
        """
        self.charge.open(_NOTHING if self.rates is None else self.rates.least)
        try:
            yield
        except BaseException as error:
            if is_refusal(error if isinstance(error, AllmError) else None):
                self.charge.settle(_NOTHING, estimated=False)
            else:
                self.end(None)
            raise

    def end(self, response: Any) -> None:
        """The request has ended, with this response, or none; what it reports as its usage counts."""
        model = getattr(response, "model", None) or self.request.model
        given = getattr(response, "usage", None)
        by_unit = _by_unit(self.provider, model, self.request, response)
        usage = _as_usage(given)
        if usage is None:
            cost = _NOTHING if self.rates is None else self.rates.cost(self.rates.longest_prompt, 0)
            usage = None if by_unit is None or response is None else Usage(total_cost=float(by_unit))
            cost = cost if by_unit is None else Cost(by_unit, cost.tokens)
            self.charge.settle(cost, estimated=True, usage=usage)
            return
        usd = self._cost_of(given, usage, model)
        usd = by_unit if usd is None else usd
        if usd is not None:
            usage = attrs.evolve(usage, total_cost=float(usd))
        self.charge.settle(Cost(usd, tokens_of(usage)), estimated=False, usage=usage)

    def _cost_of(self, given: Any, usage: Usage, model: str | None) -> Decimal | None:
        """US dollars of what was reported, as the provider says or by the prices of the model that answered."""
        if usage.total_cost is not None:
            return Decimal(repr(usage.total_cost))
        if model is not None and isinstance(given, ImageUsage):
            edits = getattr(self.request, "operation", "generate") != "generate"
            if (cost := image_cost(self.provider, model, given, edits=edits)) is not None:
                return Decimal(repr(cost))
        counts = attrs.evolve(
            usage,
            input_tokens=usage.total_tokens or 0 if usage.input_tokens is None else usage.input_tokens,
            output_tokens=usage.output_tokens or 0,
        )
        usd = Pricing(self.provider, model).cost_of(counts)
        return self.rates.cost_of(counts).usd if usd is None and self.rates is not None else usd


def _by_unit(provider: str, model: str | None, request: Any, response: Any = None) -> Decimal | None:
    """US dollars of what is not priced by the token: characters that are said, sound that is heard, images."""
    if model is None:
        return None
    if isinstance(request, SpeechRequest):
        return sound_cost(provider, model, seconds=None, characters=len(request.text))
    if isinstance(request, TranscriptionRequest):
        seconds = getattr(response, "duration", None) or 0.0
        return sound_cost(provider, model, seconds=seconds, characters=None)
    if isinstance(request, ImageRequest):
        price = unit_price(provider, model, "image")
        images = len(response.images) if response is not None else request.n or 1
        return None if price is None else price * images
    return None


def _sent(request: Any) -> Generator[Any]:
    for name in _SENT:
        value = getattr(request, name, None)
        for item in (value,) if isinstance(value, str | Media) else value or ():
            if isinstance(item, str | Media):
                yield item


def _as_usage(usage: Any) -> Usage | None:
    """Of images, whose tokens have their own prices, as the usage of a chat has them; None if it says nothing."""
    if isinstance(usage, ImageUsage):
        images = {"input_image_tokens": usage.input_image_tokens, "output_image_tokens": usage.output_tokens}
        usage = Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
            total_cost=usage.total_cost,
            extra={name: count for name, count in images.items() if count is not None},
        )
    says_nothing = usage is None or (not tokens_of(usage) and usage.total_cost is None)
    return None if says_nothing else usage
