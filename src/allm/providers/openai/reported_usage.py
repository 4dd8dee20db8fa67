"""What `usage` says beyond the token counts that every service has: costs, and tokens of other kinds than text.

Costs, each in US dollars:

- OpenRouter `cost`, with the tokens' shares in `cost_details`; with a key of your own for the upstream provider
  (`is_byok`) it is OpenRouter's fee alone, and the provider's bill comes on top
  (https://openrouter.ai/docs/use-cases/usage-accounting).
- Perplexity `cost` as an object, with a fee for the request in its total
  (https://docs.perplexity.ai/api-reference/chat-completions-post).
- xAI `cost_in_usd_ticks`, of which a dollar has 10^10 (https://docs.x.ai/docs/key-information/consumption-and-rate-limits).
- Venice and other gateways `cost`, as a number, a text or an object; DeepInfra `estimated_cost`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from allm.adapters import as_count, as_object

__all__ = ["reported_costs", "special_counts"]

_TICKS = Decimal(10**10)
_TOTALS = ("total_cost", "total", "usd", "amount")
_INPUTS = ("input_tokens_cost", "input_cost", "prompt_cost", "upstream_inference_prompt_cost")
_OUTPUTS = ("output_tokens_cost", "output_cost", "completion_cost", "upstream_inference_completions_cost")
_KINDS = ("audio_tokens", "image_tokens")
_COUNTED = frozenset(
    {
        *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"),
        *("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"),
        *("cost", "cost_details", "cost_in_usd_ticks", "estimated_cost", "service_tier"),
        *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens"),
    }
)
"""Fields of a usage that have a place of their own."""


def reported_costs(usage: Mapping[str, Any]) -> dict[str, Any]:
    """`input_cost`, `output_cost` and `total_cost` of a `Usage`, as far as the service reports them."""
    cost, details = usage.get("cost"), as_object(usage.get("cost_details"))
    shares = cost if isinstance(cost, dict) else details
    total = _first(shares, _TOTALS) if shares is cost else _dollars(cost)
    if total is not None and usage.get("is_byok") is True:
        total += _dollars(details.get("upstream_inference_cost")) or 0
    if total is None:
        total = _dollars(usage.get("estimated_cost"))
    ticks = _dollars(usage.get("cost_in_usd_ticks"))
    if total is None and ticks is not None:
        total = ticks / _TICKS
    if total is None:  # shares of nothing that was charged
        return {}
    costs = {"input_cost": _first(shares, _INPUTS), "output_cost": _first(shares, _OUTPUTS), "total_cost": total}
    return {name: float(value) for name, value in costs.items() if value is not None}


def special_counts(usage: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """`Usage.extra`: tokens that have prices of their own, and what only this service counts.

    Args:
        usage: The whole of it.
        inputs, outputs: The details of its prompt and of its answer.
    """
    found = {f"input_{kind}": as_count(inputs.get(kind)) for kind in _KINDS}
    found |= {f"output_{kind}": as_count(outputs.get(kind)) for kind in _KINDS}
    own = {
        name: value
        for name, value in usage.items()
        if name not in _COUNTED and value not in (None, [], {}, "") and not isinstance(value, bool)
    }
    return {**own, **{name: count for name, count in found.items() if count}}


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> Decimal | None:
    found = (_dollars(values.get(name)) for name in names)
    return next((value for value in found if value is not None), None)


def _dollars(value: Any) -> Decimal | None:
    """An amount as a number or a text of one; exact, as sums of binary fractions are not."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None
