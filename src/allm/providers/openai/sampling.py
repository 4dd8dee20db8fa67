"""The neutral sampling options of a request as fields of a body, for both endpoints.

https://platform.openai.com/docs/api-reference/chat/create, https://platform.openai.com/docs/api-reference/responses/create.
What differs from service to service is in its `Preset`.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import Problem
from allm.data.request import Request
from allm.providers.openai.presets import OPENAI_ITSELF, Preset

__all__ = ["chat_sampling", "responses_sampling"]

_MAX_STOPS = 4
"""At OpenAI itself: "Up to 4 sequences where the API will stop generating further tokens"."""
_PROVIDERS_CHOICE = "auto"
_STANDARD = frozenset({"default", "standard", "standard_only"})
"""The words of all vendors for their standard tier."""


def chat_sampling(request: Request, preset: Preset, problems: list[Problem]) -> dict[str, Any]:
    """The fields of a body of Chat Completions; None for what is not sent."""
    stop = list(request.stop) if request.stop else None
    if stop is not None and len(stop) > _MAX_STOPS and preset.name in OPENAI_ITSELF:
        sentence = f"has {len(stop)} texts; OpenAI takes at most {_MAX_STOPS}"
        problems.append(Problem(("stop",), "too_many", sentence))
    fields: dict[str, Any] = {"stop": stop, **_common(request, preset, problems)}
    if request.seed is not None:
        if preset.seed_field is None:
            problems.append(_lacks("seed", f"{preset.name} takes no seed; leave it out"))
        else:
            fields[preset.seed_field] = request.seed
    return fields


def responses_sampling(request: Request, preset: Preset, problems: list[Problem]) -> dict[str, Any]:
    """The fields of a body of Responses, which has neither stop sequences nor a seed; None for what is not sent."""
    if request.stop:
        sentence = 'the Responses API has no stop sequences; use endpoint="chat_completions", or cut the text yourself'
        problems.append(_lacks("stop", sentence))
    if request.seed is not None:
        sentence = 'the Responses API has no seed; use endpoint="chat_completions", or leave it out'
        problems.append(_lacks("seed", sentence))
    return _common(request, preset, problems)


def _common(request: Request, preset: Preset, problems: list[Problem]) -> dict[str, Any]:
    has_tools = bool(request.tools or request.options.get("tools"))  # without tools, OpenAI refuses the field
    parallel = request.parallel_tool_calls if has_tools else None
    if parallel is not None and not preset.parallel_calls_field:
        if not parallel:
            sentence = f"{preset.name} has no switch for parallel tool calls; leave it out"
            problems.append(_lacks("parallel_tool_calls", sentence))
        parallel = None
    return {
        "top_p": request.top_p,
        "parallel_tool_calls": parallel,
        "service_tier": _service_tier(request.service_tier, preset, problems),
    }


def _service_tier(tier: str | None, preset: Preset, problems: list[Problem]) -> str | None:
    if preset.standard_tier is None:
        if tier is not None and tier != _PROVIDERS_CHOICE and tier not in _STANDARD:
            problems.append(_lacks("service_tier", f"{preset.name} has no service tiers; leave it out"))
        return None
    return preset.standard_tier if tier in _STANDARD else tier


def _lacks(name: str, sentence: str) -> Problem:
    return Problem((name,), "unsupported_option", sentence)
