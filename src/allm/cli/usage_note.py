"""What an answer used and cost, in a line."""

from __future__ import annotations

from decimal import Decimal

import allm

__all__ = ["usage_line"]

_SMALL = 0.01  # dollars; below it two digits of cents say nothing


def usage_line(usage: allm.Usage) -> str:
    """`Usage: 1,200 tokens in (1,000 cached), 340 out (200 reasoning), $0.0031`."""
    counted = [
        _count(usage.input_tokens, "tokens in", {"cached": usage.cached_input_tokens}),
        _count(usage.output_tokens, "out", {"reasoning": usage.reasoning_tokens}),
    ]
    if usage.input_tokens is None and usage.output_tokens is None:
        counted = ["not reported by the provider"]
    return f"Usage: {', '.join([*counted, _cost(usage.total_cost)])}"


def _count(count: int | None, what: str, parts: dict[str, int | None]) -> str:
    number = "?" if count is None else f"{count:,}"
    inside = ", ".join(f"{part:,} {name}" for name, part in parts.items() if part)
    return f"{number} {what}{f' ({inside})' if inside else ''}"


def _cost(dollars: float | None) -> str:
    if dollars is None:
        return "cost not known"
    if dollars >= _SMALL or not dollars:
        return f"${dollars:.2f}"
    return f"${Decimal(f'{dollars:.2g}'):f}"  # a float would have an exponent
