"""What a call of a service costs: by the usage in its response, else estimated from what was sent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AllmError
from allm.data.media import Media
from allm.data.message import user
from allm.data.request import Request
from allm.data.response import Usage
from allm.data.token_count import PER_MESSAGE, estimated_tokens, least_tokens
from allm.execution.budgeting import Rates, is_refusal, tokens_of
from allm.runtime.budgets import Account, Charge, Cost
from allm.runtime.costs import Pricing

__all__ = ["ServiceCharge"]

_SENT = ("inputs", "prompt", "text", "instructions", "query", "documents", "audio", "images")
"""The fields of requests that a model reads."""
_NOTHING = Cost()


@define(eq=False)
class ServiceCharge:
    """The cost of one request of a service, each attempt of it.

    Attributes:
        rates: None where no budget asks.
        pricing: The prices of its model.
    """

    charge: Charge
    rates: Rates | None
    pricing: Pricing

    @classmethod
    def of(cls, accounts: tuple[Account, ...], provider: str, request: Any) -> ServiceCharge:
        """Of a request that is about to be sent.

        Raises:
            BudgetExceeded: It does not fit, or its price is not known and a budget is in US dollars.
        """
        charge, pricing = Charge(accounts), Pricing(provider, request.model)
        if not charge.budgets:
            return cls(charge, None, pricing)
        sent = Request((user(*_sent(request)),))
        least, estimate = least_tokens(sent), estimated_tokens(sent) - PER_MESSAGE
        rates = Rates.of(charge, pricing, least, estimate, answer=0)
        charge.check(rates.least)
        return cls(charge, rates, pricing)

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

    def end(self, usage: Any, model: str | None = None) -> None:
        """The request has ended, and reported this usage, or none; of `model`, where the answer says so."""
        reported = _as_usage(usage)
        if reported is None:
            cost = _NOTHING if self.rates is None else self.rates.cost(self.rates.longest_prompt, 0)
            self.charge.settle(cost, estimated=True)
            return
        counts = attrs.evolve(
            reported,
            input_tokens=_first(reported.input_tokens, reported.total_tokens),
            output_tokens=reported.output_tokens or 0,
        )
        usd = None if reported.total_cost is None else Decimal(repr(reported.total_cost))
        for name in (model, self.pricing.model) if usd is None else ():
            if usd is None and name is not None:
                usd = Pricing(self.pricing.provider, name).cost_of(counts)
        if usd is None and self.rates is not None:
            usd = self.rates.cost_of(counts).usd
        if usd is not None:
            reported = attrs.evolve(reported, total_cost=float(usd))
        self.charge.settle(Cost(usd, tokens_of(counts)), estimated=False, usage=reported)


def _sent(request: Any) -> Generator[Any]:
    for name in _SENT:
        value = getattr(request, name, None)
        for item in (value,) if isinstance(value, str | Media) else value or ():
            if isinstance(item, str | Media):
                yield item


def _as_usage(usage: Any) -> Usage | None:
    """Of images, whose tokens have their own prices, as the usage of a chat has them; None if it says nothing."""
    if usage is not None and not isinstance(usage, Usage):
        images = {"input_image_tokens": usage.input_image_tokens, "output_image_tokens": usage.output_tokens}
        usage = Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
            extra={name: count for name, count in images.items() if count is not None},
        )
    says_nothing = usage is None or (not tokens_of(usage) and usage.total_cost is None)
    return None if says_nothing else usage


def _first(count: int | None, otherwise: int | None) -> int:
    return count if count is not None else otherwise or 0
