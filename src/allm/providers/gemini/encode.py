"""A `Request` as the body of `streamGenerateContent` (https://ai.google.dev/api/generate-content)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from allm.adapters import AdapterOptions, Origin, Problem, as_object, refuse
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.models import ModelInfo, lookup
from allm.providers.gemini.content_encode import TOOL_NAME, ContentEncoder
from allm.providers.gemini.part_decode import ITSELF, PROVIDER
from allm.providers.gemini.structured import answer_schema

__all__ = ["encode"]

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}

# Google's own mapping for models that know no levels: https://ai.google.dev/gemini-api/docs/openai#thinking.
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_VERSION = re.compile(r"gemini-(\d+)")
_FIRST_WITH_LEVELS = 3
_NUMBER = re.compile(r"-?\d+")

# https://ai.google.dev/api/generate-content#GenerationConfig.
_MAX_STOPS = 5
_SEEDS = 2**31
_TIERS = {
    "auto": None,  # nothing is sent
    **dict.fromkeys(("default", "standard", "standard_only"), "standard"),
    "flex": "flex",
    "priority": "priority",
}

_MERGED = frozenset({"generationConfig", "thinkingConfig", "toolConfig", "functionCallingConfig"})


def encode(
    request: Request, options: AdapterOptions, origin: Origin = ITSELF, *, may_be_empty: bool = False
) -> dict[str, Any]:
    """The request body. `request.options` win over it; configuration objects are merged, `tools` are added.

    With `may_be_empty` it may be without a message to answer.

    Raises:
        ValidationError: With every problem found.
    """
    is_new, info = _is_new(request.model or ""), lookup(PROVIDER, request.model or "")
    hosted: list[Problem] = []
    if any(tool.hosted for tool in request.tools):
        from allm.providers.gemini.hosted_tools import with_hosted

        request = with_hosted(request, hosted, is_new=is_new)
    encoder = ContentEncoder(
        origin, signed_calls=is_new, media_in_results=info is None or info.media_in_tool_results is not False
    )
    encoder.encode(request.messages)
    problems = encoder.problems
    problems += hosted
    if not encoder.contents and not problems and not may_be_empty:
        sentence = "nothing is left to send beside the system instruction; Gemini needs a message to answer"
        problems.append(Problem(("messages",), "empty", sentence))
    body: dict[str, Any] = {"contents": encoder.contents}
    if encoder.system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(encoder.system)}]}
    if request.tools:
        problems += _tool_problems(request.tools)
        body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools]}]
    _add_tool_choice(request, body, problems)
    _add_service_tier(request, body, problems)
    config = _generation_config(request, problems)
    thinking = _thinking_config(options, info, problems, is_new=is_new)
    if thinking:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    refuse(problems)
    return _with_options(body, request.options)


def _is_new(model: str) -> bool:
    """Whether the model is Gemini 3 or newer: it thinks in levels, and checks signatures. Unknown names are new."""
    version = _VERSION.search(model)
    return version is None or int(version[1]) >= _FIRST_WITH_LEVELS


def _tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema}


def _tool_problems(tools: tuple[Tool, ...]) -> list[Problem]:
    sentence = "a name begins with a letter or an underscore"
    return [
        Problem(("tools", index, "name"), "invalid_format", f"Gemini does not take the name {tool.name!r}: {sentence}")
        for index, tool in enumerate(tools)
        if not TOOL_NAME.fullmatch(tool.name)
    ]


def _add_tool_choice(request: Request, body: dict[str, Any], problems: list[Problem]) -> None:
    choice = request.tool_choice
    if choice is None:
        return
    if isinstance(choice, Mapping):
        is_whole = "functionCallingConfig" in choice or "retrievalConfig" in choice
        body["toolConfig"] = dict(choice) if is_whole else {"functionCallingConfig": dict(choice)}
        return
    names = {tool.name for tool in request.tools}
    if choice not in _MODES and choice not in names:
        sentence = f"{choice!r} is neither auto, none, required nor the name of a tool of this request"
        problems.append(Problem(("tool_choice",), "unknown_tool", sentence))
    elif choice == "required" and not names:
        problems.append(Problem(("tool_choice",), "requires_tools", "a call is required, but the request has no tools"))
    elif names:  # without functions, Gemini refuses the setting
        config: dict[str, Any] = {"mode": _MODES.get(choice, "ANY")}
        if choice not in _MODES:
            config["allowedFunctionNames"] = [choice]
        body["toolConfig"] = {"functionCallingConfig": config}


def _add_service_tier(request: Request, body: dict[str, Any], problems: list[Problem]) -> None:
    tier = request.service_tier
    if tier is not None and tier not in _TIERS:
        expected = ", ".join(map(repr, _TIERS))
        sentence = f"Gemini has no tier {tier!r}; expected one of {expected}"
        problems.append(Problem(("service_tier",), "unsupported_option", sentence))
    elif tier is not None and (word := _TIERS[tier]) is not None:
        body["serviceTier"] = word


def _generation_config(request: Request, problems: list[Problem]) -> dict[str, Any]:
    config = _sampling(request, problems)
    wanted = request.response_format
    if isinstance(wanted, JsonSchema):
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = answer_schema(wanted)
    elif isinstance(wanted, Mapping):
        config.update(wanted)
    elif wanted == "json":
        config["responseMimeType"] = "application/json"
    return config


def _sampling(request: Request, problems: list[Problem]) -> dict[str, Any]:
    if request.stop and len(request.stop) > _MAX_STOPS:
        sentence = f"has {len(request.stop)} texts; Gemini takes at most {_MAX_STOPS}"
        problems.append(Problem(("stop",), "too_many", sentence))
    if request.seed is not None and not -_SEEDS <= request.seed < _SEEDS:
        sentence = f"is {request.seed}; Gemini takes a seed of 32 bits, from {-_SEEDS} to {_SEEDS - 1}"
        problems.append(Problem(("seed",), "out_of_range", sentence))
    if request.parallel_tool_calls is False and request.tools:
        sentence = "Gemini has no switch for parallel tool calls; leave it out, and run them one after the other with "
        problems.append(
            Problem(("parallel_tool_calls",), "unsupported_option", f"{sentence}max_concurrency=1 if need be")
        )
    config = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) if request.stop else None,
        "seed": request.seed,
        "maxOutputTokens": request.max_tokens,
        "responseLogprobs": None if request.logprobs is None else True,
        "logprobs": request.logprobs or None,  # the number of them, at least one
    }
    return {name: value for name, value in config.items() if value is not None}


def _thinking_config(
    options: AdapterOptions, info: ModelInfo | None, problems: list[Problem], *, is_new: bool
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    effort = options.reasoning_effort
    if effort is not None:
        least = (info and info.least_reasoning_budget) or 0
        if _NUMBER.fullmatch(effort):
            config["thinkingBudget"] = budget = int(effort)
            if 0 <= budget < least:  # -1 lets the model decide
                sentence = f"a budget of {budget} tokens is less than the {least} that the model thinks with at least"
                problems.append(Problem(("reasoning_effort",), "out_of_range", sentence))
        elif is_new:
            level = "minimal" if effort == "none" else effort
            config["thinkingLevel"] = (level if info is None else info.nearest_effort(level)).upper()
        elif effort in _BUDGETS:
            config["thinkingBudget"] = max(_BUDGETS[effort], least)
        else:
            sentence = f"{effort!r} is neither a number of tokens nor one of {', '.join(_BUDGETS)}"
            problems.append(Problem(("reasoning_effort",), "unknown", sentence))
    if options.reasoning_summary is not None:
        config["includeThoughts"] = options.reasoning_summary != "none"
    return config


def _with_options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    merged = _merge(body, options)
    tools = options.get("tools")
    if isinstance(tools, (list, tuple)):
        merged["tools"] = [*body.get("tools", ()), *tools]
    return merged


def _merge(body: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` over `body`: only configuration objects are merged, so that two schemas never mix."""
    merged = dict(body)
    for key, value in options.items():
        current = as_object(merged.get(key))
        if key in _MERGED and current and isinstance(value, Mapping):
            merged[key] = _merge(current, cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged
