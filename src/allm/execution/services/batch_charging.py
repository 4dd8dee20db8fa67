"""What a request in a batch costs a budget: held from before it is sent until its answer is there."""

from __future__ import annotations

from allm.data.attrs_classes import define
from allm.data.response import Response
from allm.data.token_count import estimated_tokens, least_tokens
from allm.execution.budgeting import Rates, reported_cost, tokens_of
from allm.execution.options import ModelCall
from allm.runtime.budgets import Account, Charge, Cost
from allm.runtime.costs import Pricing

__all__ = ["BatchCharge"]


@define(eq=False)
class BatchCharge:
    """The cost of one request.

    Attributes:
        rates: None where no budget asks.
        most: Most tokens of the answer, if the request says so.
    """

    charge: Charge
    rates: Rates | None
    most: int

    @classmethod
    def begin(cls, accounts: tuple[Account, ...], call: ModelCall) -> BatchCharge:
        """Hold the least that a request can cost.

        Raises:
            BudgetExceeded: It does not fit, or its price is not known and a budget is in US dollars.
        """
        charge, request, rates = Charge(accounts), call.request, None
        if charge.budgets:
            pricing = Pricing.of_call(call.adapter, request, in_batch=True)
            least, estimate = least_tokens(request), estimated_tokens(request)
            rates = Rates.of(charge, pricing, least, estimate, messages=len(request.messages))
        charge.open(Cost() if rates is None else rates.least)
        return cls(charge, rates, request.max_tokens or 0)

    def end(self, response: Response) -> None:
        """It was answered. A request that failed costs nothing in a batch, unless its usage says so."""
        usage = response.usage
        if self.rates is None:
            self.charge.settle(Cost(), estimated=False, usage=usage)
        elif tokens_of(usage) or usage.total_cost is not None:
            cost = reported_cost(self.rates, usage)
            estimated = usage.total_cost is None and cost.usd is not None
            self.charge.settle(cost, estimated=estimated, usage=usage)
        elif response.error is not None:
            self.charge.settle(Cost(), estimated=False)
        else:
            self.leave()

    def leave(self) -> None:
        """Nobody waits for its answer, which the provider may still write: an estimate of its cost counts."""
        cost = Cost() if self.rates is None else self.rates.cost(self.rates.longest_prompt, self.most)
        self.charge.settle(cost, estimated=True)

    def take_back(self) -> None:
        """It was not sent."""
        self.charge.take_back()
