"""What tools that run at the provider cost beside their tokens: searches have a price each, some tools have none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from allm.data.content import HostedCall
from allm.runtime.unit_prices import unit_price

__all__ = ["hosted_cost"]

_TOKENS_ONLY = {
    # https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing
    "anthropic": frozenset({"mcp", "tool_search", "web_fetch"}),
    # https://ai.google.dev/gemini-api/docs/pricing#pricing-for-tools
    "gemini": frozenset({"code_execution", "file_search", "web_fetch"}),
    # https://developers.openai.com/api/docs/pricing#built-in-tools
    "openai": frozenset({"computer", "mcp", "mcp_list_tools", "tool_search"}),
}
"""Kinds of calls that cost the tokens that they bring, and nothing else."""

_GEMINI = re.compile(r"gemini-(\d+)")
_FIRST_BY_QUERY = 3
"""Of Gemini 3 and newer each query is charged for, of older ones each answer with any."""


def hosted_cost(
    provider: str, model: str, calls: Iterable[HostedCall], counts: Mapping[str, Any], asked_for: Mapping[str, Any]
) -> Decimal | None:
    """US dollars for the calls of an answer; None where a price, or a number, is not known.

    Args:
        provider: Who ran them.
        model: For which model.
        calls: Those that have ended.
        counts: What the provider counts itself: the `extra` of the usage.
        asked_for: Fields of the request's body.
    """
    by_kind: dict[str, list[HostedCall]] = {}
    for call in calls:
        by_kind.setdefault(call.kind, []).append(call)
    total = Decimal(0)
    for kind, of_kind in by_kind.items():
        if kind in _TOKENS_ONLY.get(provider, ()):
            continue
        price = None if "web_search_preview" in str(asked_for.get("tools")) else unit_price(provider, model, kind)
        if price is None:  # a tool of another tariff, or of none that is known
            return None
        total += price * _charged(provider, model, kind, of_kind, counts) / 1000
    return total


def _charged(provider: str, model: str, kind: str, calls: list[HostedCall], counts: Mapping[str, Any]) -> int:
    """How many of the calls are charged for."""
    if type(counted := counts.get(f"{kind}_requests")) is int:  # Anthropic's count has those that failed taken out
        return counted
    done = [call for call in calls if call.status == "completed"]
    if provider == "gemini" and (version := _GEMINI.search(model)) and int(version[1]) < _FIRST_BY_QUERY:
        return min(len(done), 1)
    if provider == "gemini":
        return sum(len((call.input or {}).get("queries") or ()) for call in done)
    # OpenAI's search tool also opens pages and looks for words in them, which are no searches.
    return sum((call.input or {}).get("type", "search") == "search" for call in done)
