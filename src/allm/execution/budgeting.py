"""What a request costs: before it is sent, while its answer arrives, and at its end; see `runtime/budgets.py`.

Loaded with the first request that is made under a budget, or by a tool. Three numbers of tokens are guessed where a
provider has not reported them:

- the least, by which a request is refused before it is sent: one that could fit never is;
- about how many, by which `max_tokens` is lowered and an answer that runs over is cut;
- the most, which an answer is counted with that was cut: what is spent is rather too high than too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import ceil
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError, BudgetExceeded, ValidationError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.response import Usage
from allm.data.results import ChatResult, StepResult
from allm.data.token_count import PER_MESSAGE, estimated_tokens, least_tokens
from allm.data.tool_control import error_message
from allm.execution.event_changes import ChangedEvents
from allm.execution.options import ModelCall, prepare_call
from allm.execution.stream.folds import total_usage
from allm.http.answer_size import AnswerSize
from allm.runtime.budgets import Account, Charge, Cost, exceeded
from allm.runtime.catalog import lookup
from allm.runtime.costs import Pricing, charged

__all__ = [
    "AnswerCharge",
    "Rates",
    "begin_answer",
    "budget_error",
    "check_call",
    "is_refusal",
    "reported_cost",
    "tokens_of",
    "turn_over_budget",
]

_BYTES_PER_TOKEN = 5
"""UTF-8 bytes of a token that a model writes, rather too many, so that no answer is cut that would have fitted."""
_MOST_PER_ESTIMATE = 1.5
"""By how much an estimate of a prompt may be too low: it is mostly within a third."""
_IMPLAUSIBLE = 40
"""Bytes of a token that no answer has, so that its usage is that of its beginning."""
_IGNORED = 2
"""An answer of so many times `max_tokens` tells that the provider does not know the limit."""
_ANY_MODEL_WRITES = 4096
"""Tokens that a model writes whose limit is not known; a larger `max_tokens` could be refused by its provider."""
_NO_CONTENT = (MessageStarted, UsageReported, RawChunk, MessageCompleted)
_NOT_BILLED = frozenset(
    {
        *("rate_limited", "quota_exhausted", "overloaded", "provider_unavailable", "authentication_failed"),
        *("invalid_request", "not_found", "context_length_exceeded", "unsupported_feature", "no_scripted_response"),
    }
)
"""Reasons of requests that the provider refused, if it has answered nothing else."""


def check_call(accounts: tuple[Account, ...], call: ModelCall) -> None:
    """Refuse a call whose least cost does not fit, before anything is prepared.

    Raises:
        BudgetExceeded: It does not fit, or its price is not known and a budget is in US dollars.
    """
    charge = Charge(accounts)
    if charge.budgets:
        charge.check(Rates.of_call(charge, call).least)


def begin_answer(
    accounts: tuple[Account, ...], call: ModelCall, prepared: Any, size: AnswerSize
) -> tuple[AnswerCharge, Any]:
    """Hold the cost of an attempt that is about to be sent.

    Returns:
        Its charge, to be settled, and what to send: with a lower `max_tokens` if the budget pays no more.

    Raises:
        BudgetExceeded: It does not fit.
    """
    charge = Charge(accounts)
    if not charge.budgets:
        charge.open(Cost())
        return AnswerCharge(charge, size), prepared
    rates = Rates.of_call(charge, call)
    charge.check(rates.least)
    most = call.request.max_tokens
    paid = rates.paid_by(charge)
    if paid is not None and paid < (most or rates.longest_answer):
        most = max(paid, 1)
        prepared = _lowered(call, prepared, most)
    charge.open(rates.least)
    return AnswerCharge(charge, size, rates, most), prepared


def _lowered(call: ModelCall, prepared: Any, max_tokens: int) -> Any:
    """The call as its adapter prepares it with a lower `max_tokens`.

    Raises:
        BudgetExceeded: The adapter cannot send so little: the model thinks with more.
    """
    request = call.request
    limits = {name: min(value, max_tokens) for name, value in request.options.items() if _is_limit(name, value)}
    defaulted = call.defaulted if request.max_tokens is not None else call.defaulted | {("max_tokens",)}
    request = attrs.evolve(request, max_tokens=max_tokens, options={**request.options, **limits})
    lower = attrs.evolve(call, request=request, defaulted=defaulted)
    sent = prepared.prepared if isinstance(prepared, ChangedEvents) else prepared
    try:
        changed = prepare_call(lower, by=_Again(call.adapter, sent))
    except ValidationError as error:
        what = f"the budget pays for {max_tokens} more tokens, and the request cannot be sent with so few"
        raise BudgetExceeded(f"{what}: {error.problem}", reason="tokens") from error
    return attrs.evolve(prepared, prepared=changed) if isinstance(prepared, ChangedEvents) else changed


def _is_limit(name: str, value: Any) -> bool:
    return name in {"max_tokens", "max_completion_tokens", "max_output_tokens"} and type(value) is int


@define(eq=False)
class _Again:
    """Prepares a request that was prepared before; an adapter that has to know so has `prepare_again`, as Fake."""

    adapter: Any
    prepared: Any

    def prepare(self, request: Any, options: Any) -> Any:
        again = getattr(self.adapter, "prepare_again", None)
        return self.adapter.prepare(request, options) if again is None else again(self.prepared, request, options)


@define(eq=False)
class Rates:
    """The prices of a model, and the guesses of a prompt.

    Attributes:
        least: What the request costs at least.
        least_prompt: Fewest tokens of the prompt.
        prompt: About how many it has.
        longest_prompt: Most tokens of it.
        longest_answer: Most tokens that the model writes.
    """

    pricing: Pricing | None
    least: Cost
    least_prompt: int
    prompt: int
    longest_prompt: int
    longest_answer: int = _ANY_MODEL_WRITES
    _output: Decimal | None = attrs.field(default=None, init=False)

    @classmethod
    def of_call(cls, charge: Charge, call: ModelCall) -> Rates:
        """Of a model call; raises as `of` does."""
        request = call.request
        pricing = Pricing.of_call(call.adapter, request)
        made = cls.of(charge, pricing, least_tokens(request), estimated_tokens(request), messages=len(request.messages))
        info = lookup(pricing.provider, pricing.model or "")
        if info is not None and info.output_limit is not None:
            made.longest_answer = info.output_limit
        return made

    @classmethod
    def of(
        cls,
        charge: Charge,
        pricing: Pricing,
        least: int,
        estimate: int,
        *,
        messages: int = 0,
        answer: int = 1,
        by_unit: Decimal | None = None,
    ) -> Rates:
        """Of a request.

        Args:
            charge: What it is charged to.
            pricing: The prices of its model.
            least: Fewest tokens of the prompt.
            estimate: About how many, with those that mark where its messages begin and end.
            messages: How many these are.
            answer: Fewest tokens of the answer.
            by_unit: US dollars of what is not priced by the token, such as images.

        Raises:
            BudgetExceeded: A budget is in US dollars, and the price is not known.
        """
        pricing.model = pricing.model or pricing.provider  # an adapter that needs no model has one price
        usd = pricing.cost_of(Usage(input_tokens=least, output_tokens=answer, cached_input_tokens=least))
        usd = by_unit if usd is None else usd
        if usd is None and charge.is_priced:
            what = f"a budget is in US dollars, and the price of {pricing.provider}:{pricing.model} is not known"
            if pricing.cost_of(Usage(input_tokens=1, output_tokens=0)) is None and pricing.has_prices:
                what += " for this service tier"
            raise BudgetExceeded(what, reason="no_price").advised(
                ": put it in with allm.models.put, or limit tokens= or calls="
            )
        prompt = max(least, estimate - PER_MESSAGE * messages)
        return cls(pricing, Cost(usd, least + answer), least, prompt, ceil(estimate * _MOST_PER_ESTIMATE))

    def paid_by(self, charge: Charge) -> int | None:
        """How many tokens of an answer the budgets can pay; None: any number."""
        usd, tokens = charge.left()
        most = None if tokens is None else tokens - self.prompt
        if usd is not None and self.output_rate:
            paid = int((usd - (self.cost(self.prompt, 0).usd or 0)) / self.output_rate)
            most = paid if most is None else min(most, paid)
        return most

    @property
    def output_rate(self) -> Decimal:
        """US dollars of one token of the answer."""
        if self._output is None:
            million = self.cost(self.prompt, 1_000_000).usd
            self._output = ((million or Decimal(0)) - (self.cost(self.prompt, 0).usd or 0)) / 1_000_000
        return self._output

    def cost(self, prompt: int, answer: int) -> Cost:
        """The cost of so many tokens."""
        return self.cost_of(Usage(input_tokens=prompt, output_tokens=answer))

    def cost_of(self, usage: Usage) -> Cost:
        """The cost of what was used, as far as it is counted."""
        tokens = tokens_of(usage)
        usd = None if self.pricing is None else self.pricing.cost_of(usage)
        if usd is None and self.pricing is not None:  # counts that have no price of their own are priced as text
            text = Usage(input_tokens=usage.input_tokens or 0, output_tokens=usage.output_tokens or 0)
            usd = self.pricing.cost_of(text)
        return Cost(usd, tokens)


def tokens_of(usage: Usage) -> int:
    """The tokens of a prompt and its answer."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return usage.total_tokens or (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return usage.input_tokens + usage.output_tokens


@define(eq=False)
class AnswerCharge:
    """The cost of one attempt at an answer, from its events.

    Attributes:
        size: Counts the bytes of the answer.
        rates: None where no budget asks.
        max_tokens: What was sent as such, or None.
        is_cut: The answer has run over a budget.
    """

    charge: Charge
    size: AnswerSize
    rates: Rates | None = None
    max_tokens: int | None = None
    is_cut: bool = attrs.field(default=False, init=False)
    _usage: Usage | None = attrs.field(default=None, init=False)
    _counted: int = attrs.field(default=0, init=False)  # bytes that the newest report includes
    _begun: bool = attrs.field(default=False, init=False)
    _completed: bool = attrs.field(default=False, init=False)
    _error: AllmError | None = attrs.field(default=None, init=False)

    def add(self, events: tuple[AdapterEvent, ...]) -> Failed | None:
        """Count a burst that `size` has counted; returns how the answer ends if it has run over a budget."""
        has_content = False
        for event in events:
            if isinstance(event, Failed):
                self._error = event.error
                continue
            self._begun = True
            if not isinstance(event, _NO_CONTENT):
                has_content = True
            elif isinstance(event, UsageReported):
                self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)
                if event.usage.output_tokens is not None:
                    self._counted = self.size.written()
            elif isinstance(event, MessageCompleted):
                self._completed = True
        if self.rates is None:
            return None
        error = self.charge.grow(self._cost_with(self.rates.least_prompt, self._written()))
        # What has ended has been paid, and a report may be the last that comes: both are kept as they are.
        if error is None or not has_content or self._completed or self._error is not None:
            return None
        self.is_cut = True
        return Failed(error)

    @property
    def _uncounted(self) -> int:
        """Bytes that came after the newest report of what was written."""
        return self.size.written() - self._counted

    @property
    def _reported(self) -> int:
        return (self._usage.output_tokens if self._usage is not None else None) or 0

    def _written(self) -> int:
        """About how many tokens the answer has: not more than it may have, unless the provider does not heed that."""
        written = self._reported + self._uncounted // _BYTES_PER_TOKEN
        most = self.max_tokens
        return written if most is None or written > _IGNORED * most else max(self._reported, min(written, most))

    def _cost_with(self, prompt: int, answer: int) -> Cost:
        assert self.rates is not None  # noqa: S101
        usage = self._usage or Usage()
        if usage.input_tokens is None:
            usage = attrs.evolve(usage, input_tokens=prompt)
        cost = self.rates.cost_of(attrs.evolve(usage, output_tokens=answer))
        reported = usage.total_cost
        if reported is not None and cost.usd is not None:
            cost = Cost(max(cost.usd, Decimal(repr(reported))), cost.tokens)
        return cost

    def _is_final(self, usage: Usage) -> bool:
        """Whether it says what was used of prompt and answer, and is not only what was reported at the beginning."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return bool(usage.total_tokens)
        return self._uncounted <= _IMPLAUSIBLE * usage.output_tokens

    def settle(self, raised: AllmError | None) -> None:
        """The attempt has ended.

        Args:
            raised: What its adapter raised.
        """
        usage, error = self._usage, raised or self._error
        if self.rates is None:
            self.charge.settle(Cost(), estimated=False, usage=usage)
        elif not self._begun and is_refusal(error):
            self.charge.settle(Cost(), estimated=False)
        elif self._completed and usage is not None and self._is_final(usage):
            cost = reported_cost(self.rates, usage)
            # Without a total of its own it used what has no known price, such as a tool of the provider's.
            self.charge.settle(cost, estimated=usage.total_cost is None and cost.usd is not None, usage=usage)
        else:
            cost = self._cost_with(self.rates.longest_prompt, self._reported + self._uncounted)
            self.charge.settle(cost, estimated=True, usage=usage)


def is_refusal(error: AllmError | None) -> bool:
    """Whether a request failed without costing anything: the provider refused it."""
    return isinstance(error, AdapterError) and (error.reason in _NOT_BILLED or (error.status or 0) >= 400)  # noqa: PLR2004


def reported_cost(rates: Rates, usage: Usage) -> Cost:
    """The cost of an answer that reported its usage."""
    if usage.total_cost is not None:
        return Cost(Decimal(repr(usage.total_cost)), tokens_of(usage))
    return rates.cost_of(usage)


# --- turns ------------------------------------------------------------------------------------------------------------


def budget_error(step: StepResult) -> BudgetExceeded | None:
    """Why a turn goes no further: its answer was cut by a budget, or one around it has been run over."""
    error = step.response.error
    return error if isinstance(error, BudgetExceeded) else exceeded(charged.get() or ())


def turn_over_budget(steps: Sequence[StepResult]) -> ChatResult:
    """A turn that a budget ends after its last step: no call stays open and no question, so that it can go on."""
    last = steps[-1]
    why = "the call was not run: the budget is used up"
    return ChatResult(
        thread=last.thread.add(*(error_message(call, "not_run", why) for call in last.manual_tool_calls)),
        final_response=last.response,
        steps=tuple(steps),
        halted_reason="budget",
        error=budget_error(last),
        usage=total_usage(steps),
    )
