"""`reasoning_effort` and `reasoning_summary` as `thinking` and `output_config.effort`.

https://platform.claude.com/docs/en/build-with-claude/effort and .../thinking. Claude 4.6 and newer decide themselves
how much to think, led by an effort; older models have a budget of tokens, which is a part of `max_tokens`.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import AdapterOptions, Problem
from allm.providers.anthropic.models import Model

__all__ = ["thinking_fields"]

# Anthropic gives no mapping. From the smallest budget there may be to the largest it recommends outside of batches.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 32_000, "max": 32_000}
_LEAST_BUDGET = 1024
_EFFORTS = {"minimal": "low"}  # not one of Anthropic's words
_SOME_ANSWER = 2
"""The part of `max_tokens` that is left to the answer: one half."""


def thinking_fields(
    model: Model, options: AdapterOptions, max_tokens: int, problems: list[Problem]
) -> tuple[dict[str, Any] | None, str | None]:
    """`thinking` and `output_config.effort`, each None where it is not sent."""
    effort, summary = options.reasoning_effort, options.reasoning_summary
    if effort == "none":
        return _none(model)
    if effort is None:
        # Who asks to see the thinking asks for thinking; who asks not to see it, only if there is any.
        wanted = summary is not None and model.thinks_in_levels and (summary != "none" or model.thinks_unasked)
        return ({"type": "adaptive", **_display(summary)} if wanted else None), None
    if effort.isdecimal() or not model.thinks_in_levels:
        budget = _budget(model, effort, max_tokens, problems)
        return {"type": "enabled", "budget_tokens": budget, **_display(summary)}, None
    return {"type": "adaptive", **_display(summary)}, model.nearest_effort(_EFFORTS.get(effort, effort))


def _none(model: Model) -> tuple[dict[str, Any] | None, str | None]:
    least = model.least_thinking
    if least == "low":
        return None, "low"
    return (None if least == "off" else {"type": least}), None


def _display(summary: str | None) -> dict[str, Any]:
    if summary is None:  # the model's own default
        return {}
    return {"display": "omitted" if summary == "none" else "summarized"}


def _budget(model: Model, effort: str, max_tokens: int, problems: list[Problem]) -> int:
    path = ("reasoning_effort",)
    if effort.isdecimal():
        budget = int(effort)
        if not model.takes_budgets:
            sentence = f"{model.name} takes a level such as low, medium or high, not a number of tokens"
            problems.append(Problem(path, "unsupported", sentence))
        elif not _LEAST_BUDGET <= budget < max_tokens:
            sentence = (
                f"a budget of {budget} tokens is not from {_LEAST_BUDGET} to below max_tokens, which is {max_tokens}"
            )
            problems.append(Problem(path, "out_of_range", sentence))
        return budget
    if effort not in _BUDGETS:
        sentence = f"{effort!r} is neither a number of tokens nor one of none, {', '.join(_BUDGETS)}"
        problems.append(Problem(path, "unknown", sentence))
        return _LEAST_BUDGET
    if max_tokens <= _LEAST_BUDGET:
        sentence = f"thinking takes {_LEAST_BUDGET} tokens or more of max_tokens, which is {max_tokens}"
        problems.append(Problem(("max_tokens",), "too_small", sentence))
    return max(_LEAST_BUDGET, min(_BUDGETS[effort], max_tokens // _SOME_ANSWER))
