"""`reasoning_effort` and `reasoning_summary`, as fields that Bedrock passes on to the model.

Each maker of models has its own: https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html
(Claude: a budget of tokens, from 4.6 on an effort), https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
(Nova 2: an effort) and https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html (gpt-oss: an
effort). Any other model can be given its own words in `options={"additionalModelRequestFields": ...}`.
"""

from __future__ import annotations

import re
from typing import Any

from allm.adapters import AdapterOptions, Problem

__all__ = ["claude_version", "thinking_fields"]

_CLAUDE = re.compile(r"claude\D*(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")  # a date behind it is no version
_NEWEST = (99, 0)
_FIRST_WITH_EFFORT = (4, 6)
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24_576, "xhigh": 32_000, "max": 32_000}
"""Those of the Anthropic adapter, from the smallest that Claude takes."""
_LEAST_BUDGET = 1024
_NOVA = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_GPT = _NOVA
_PATH = ("reasoning_effort",)


def claude_version(model: str) -> tuple[int, int] | None:
    """Major and minor version of a Claude, the newest there may be where its name has none; None: it is no Claude."""
    if "claude" not in model.lower():
        return None
    found = _CLAUDE.search(model.lower())
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def thinking_fields(
    model: str, options: AdapterOptions, max_tokens: int | None, problems: list[Problem]
) -> dict[str, Any]:
    """Fields for `additionalModelRequestFields`."""
    effort, version = options.reasoning_effort, claude_version(model)
    if version is not None:
        return _of_claude(version, options, max_tokens, problems)
    if effort is None:
        return {}
    if "nova-2" in model:
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": _level(effort, _NOVA, problems)}}
    if "gpt-oss" in model:
        return {"reasoning_effort": "low" if effort == "none" else _level(effort, _GPT, problems)}
    if effort != "none":
        sentence = f"no way is known to tell {model} how much to think; leave it out"
        advice = ", or pass the model's own field in options={'additionalModelRequestFields': ...}"
        problems.append(Problem(_PATH, "unsupported_option", sentence, advice=advice))
    return {}


def _of_claude(
    version: tuple[int, int], options: AdapterOptions, max_tokens: int | None, problems: list[Problem]
) -> dict[str, Any]:
    effort, summary = options.reasoning_effort, options.reasoning_summary
    if effort is None or effort == "none":
        return {}
    shown = {} if summary is None else {"display": "omitted" if summary == "none" else "summarized"}
    if version >= _FIRST_WITH_EFFORT and not effort.isdecimal():
        level = "low" if effort == "minimal" else effort
        return {"thinking": {"type": "adaptive", **shown}, "output_config": {"effort": level}}
    if not effort.isdecimal() and effort not in _BUDGETS:
        sentence = f"{effort!r} is neither a number of tokens nor one of none, {', '.join(_BUDGETS)}"
        problems.append(Problem(_PATH, "unknown", sentence))
        return {}
    budget = int(effort) if effort.isdecimal() else _BUDGETS[effort]
    if max_tokens is not None and not effort.isdecimal():  # thinking is a part of them; half is left to the answer
        budget = max(_LEAST_BUDGET, min(budget, max_tokens // 2))
    if budget < _LEAST_BUDGET or (max_tokens is not None and budget >= max_tokens):
        most = "" if max_tokens is None else f" to below max_tokens, which is {max_tokens}"
        sentence = f"a budget of {budget} tokens is not from {_LEAST_BUDGET}{most}"
        problems.append(Problem(_PATH, "out_of_range", sentence))
    return {"thinking": {"type": "enabled", "budget_tokens": budget, **shown}}


def _level(effort: str, levels: dict[str, str], problems: list[Problem]) -> str:
    if effort not in levels:
        sentence = f"{effort!r} is none of none, {', '.join(levels)}"
        problems.append(Problem(_PATH, "unknown", sentence))
    return levels.get(effort, "low")
