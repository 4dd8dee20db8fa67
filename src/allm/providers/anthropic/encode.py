"""A `Request` as the body of POST /v1/messages (https://platform.claude.com/docs/en/api/messages)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from allm.adapters import AdapterOptions, Origin, Problem, as_count, as_list, as_object, as_text, refuse
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.models import lookup
from allm.providers.anthropic.cache_marks import PromptCache, with_marks
from allm.providers.anthropic.content_encode import STRICT_VERSION, ContentEncoder
from allm.providers.anthropic.models import Model
from allm.providers.anthropic.names import ITSELF
from allm.providers.anthropic.structured import native_schema
from allm.providers.anthropic.thinking import thinking_fields

__all__ = ["Settings", "encode", "output_limit", "sampling_problems"]

logger: logging.Logger = logging.getLogger("allm")

FALLBACK_MAX_TOKENS = 4096
"""For models whose limit is not known: that of Claude 3 Opus, the smallest there has been."""
_SAMPLING = ("temperature", "top_p", "top_k")
_MAX_TEMPERATURE = 1
_TIERS = {"auto": "auto", **dict.fromkeys(("default", "standard", "standard_only"), "standard_only")}
_MARKED = frozenset({"tools", "system", "messages"})
_SEARCH = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
"""Finds deferred tools by words; the other one, `tool_search_tool_regex_20251119`, may be given in `options`."""
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


@attrs.frozen(kw_only=True)
class Settings:
    """What of the adapter's options shapes a body."""

    api_version: str = "2023-06-01"
    prompt_cache: PromptCache = False
    origin: Origin = ITSELF


def encode(request: Request, options: AdapterOptions, settings: Settings) -> dict[str, Any]:
    """The request body. `request.options` win over it; `tools` are added, `output_config` is merged.

    Raises:
        ValidationError: With every problem found.
    """
    name = request.model or ""
    hosted: list[Problem] = []
    if any(tool.hosted for tool in request.tools):
        from allm.providers.anthropic.hosted_tools import with_hosted

        request = with_hosted(request, hosted)
    cache_for = None if options.prompt_cache is False else settings.prompt_cache or True
    encoder = ContentEncoder(name, settings.api_version, settings.origin, cache_for=cache_for)
    messages = encoder.encode(request.messages)
    problems = encoder.problems
    problems += hosted
    if not messages and not problems:
        sentence = "nothing is left to send beside the system prompt; Anthropic needs a message to answer"
        problems.append(Problem(("messages",), "empty", sentence))
    max_tokens = as_count(request.options.get("max_tokens")) or request.max_tokens
    if max_tokens is None:  # the API wants one, so it is all that the model can give
        max_tokens = output_limit(name) or _fallback(name)
    body: dict[str, Any] = {"model": request.model, "max_tokens": max_tokens, "messages": messages, "stream": True}
    if encoder.system:
        body["system"] = encoder.system
    _add_sampling(request, settings, body, problems)
    _add_limits(request, body, problems)
    _add_tools(request, encoder, body, problems)
    effort: str | None = None
    if not (options.reasoning_effort is None and options.reasoning_summary is None):
        model = Model.named(name)
        thinking, effort = thinking_fields(model, options, max_tokens, problems)
        if thinking is not None:
            body["thinking"] = thinking
            _check_choice(model, body, problems)
    output = _output_format(request, problems)
    if effort is not None:
        output["effort"] = effort
    if output:
        body["output_config"] = output
    refuse(problems)
    body = _with_options(body, request.options)
    # Only whoever writes blocks in Anthropic's own words can have set marks in them.
    if settings.prompt_cache or encoder.by_hand or not _MARKED.isdisjoint(request.options):
        return with_marks(body, settings.prompt_cache, by_hand=request.options.keys())
    return body


def output_limit(model: str) -> int | None:
    """The most tokens that `model` can put out, or None where that is not known.

    The catalog says it; the version does for a Claude that is not in it, or is there under another platform's name.
    """
    known = lookup("anthropic", model)
    if known is not None and known.output_limit is not None:
        return known.output_limit
    return Model.named(model).output_limit if "claude" in model.lower() else None


@functools.lru_cache(maxsize=256)  # logged once for each model
def _fallback(model: str) -> int:
    logger.warning(
        "the output limit of %r is not known, and the Messages API wants one: max_tokens is %d where none is given",
        model,
        FALLBACK_MAX_TOKENS,
    )
    return FALLBACK_MAX_TOKENS


def sampling_problems(request: Request, api_version: str) -> list[Problem]:
    """The sampling parameters that the version of the API refuses."""
    if api_version < STRICT_VERSION:
        return []
    sentence = f"API version {api_version} refuses {', '.join(_SAMPLING)}; leave it out, or use an older one"
    fields = [(name,) for name in _SAMPLING if getattr(request, name, None) is not None]
    paths = [*fields, *(("options", name) for name in _SAMPLING if name in request.options)]
    return [Problem(path, "unsupported_in_api_version", sentence) for path in paths]


def _add_sampling(request: Request, settings: Settings, body: dict[str, Any], problems: list[Problem]) -> None:
    refused = sampling_problems(request, settings.api_version)
    problems += refused
    if request.temperature is not None and not refused:
        if request.temperature > _MAX_TEMPERATURE:
            sentence = f"Anthropic takes 0 to {_MAX_TEMPERATURE}, not {request.temperature}"
            problems.append(Problem(("temperature",), "out_of_range", sentence))
        body["temperature"] = request.temperature
    if request.top_p is not None and not refused:
        body["top_p"] = request.top_p


def _add_limits(request: Request, body: dict[str, Any], problems: list[Problem]) -> None:
    """Stop sequences, the service tier, and what Anthropic does not have: the seed, log probabilities."""
    if request.stop:
        body["stop_sequences"] = list(request.stop)
        blank = [index for index, text in enumerate(request.stop) if not text.strip()]
        sentence = "is white space; Anthropic takes stop sequences with something else in them"
        problems += [Problem(("stop", index), "blank", sentence) for index in blank]
    if request.seed is not None:
        sentence = "Anthropic takes no seed; leave it out"
        problems.append(Problem(("seed",), "unsupported_option", sentence))
    if request.logprobs is not None:
        sentence = "Anthropic gives no log probabilities; leave it out"
        problems.append(Problem(("logprobs",), "unsupported_option", sentence))
    tier = request.service_tier
    if tier is not None and tier not in _TIERS:
        expected = "'auto', which uses the priority capacity that you have, or 'default'"
        problems.append(
            Problem(("service_tier",), "unsupported_option", f"Anthropic has no tier {tier!r}; use {expected}")
        )
    elif tier is not None:
        body["service_tier"] = _TIERS[tier]


def _add_tools(request: Request, encoder: ContentEncoder, body: dict[str, Any], problems: list[Problem]) -> None:
    tools = [_tool(tool, request.tool_choice) for tool in request.tools]
    if any("defer_loading" in tool for tool in tools) and not any(map(_is_search, _more_tools(request.options))):
        tools.append(dict(_SEARCH))
    choice = _tool_choice(request, problems)
    if not tools and encoder.called and "tools" not in request.options:
        # A conversation with calls in it has to define tools, even where none may be called any more.
        tools = [_gone(name) for name in encoder.called]
        choice = {"type": "none"}
    if tools:
        body["tools"] = tools
    if request.parallel_tool_calls is False and (tools or _more_tools(request.options)):
        choice = _one_at_a_time(choice)
    if choice is not None:
        body["tool_choice"] = choice


def _one_at_a_time(choice: dict[str, Any] | None) -> dict[str, Any]:
    choice = choice or {"type": "auto"}
    return choice if choice.get("type") == "none" else {"disable_parallel_tool_use": True, **choice}


def _tool(tool: Tool, choice: Any) -> dict[str, Any]:
    encoded: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **tool.schema}}
    if tool.deferred and tool.name != choice:  # one that has to be called is not searched for
        encoded["defer_loading"] = True
    return {**encoded, "description": tool.description} if tool.description else encoded


def _is_search(tool: Any) -> bool:
    return (as_text(as_object(tool).get("type")) or "").startswith("tool_search_tool_")


def _gone(name: str) -> dict[str, Any]:
    return {"name": name, "description": "No longer available.", "input_schema": {"type": "object"}}


def _tool_choice(request: Request, problems: list[Problem]) -> dict[str, Any] | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if isinstance(choice, Mapping):
        return dict(choice)
    names = {tool.name for tool in request.tools} | _names(_more_tools(request.options))
    if choice not in _CHOICES and choice not in names:
        sentence = f"{choice!r} is neither auto, none, required nor the name of a tool of this request"
        problems.append(Problem(("tool_choice",), "unknown_tool", sentence))
    elif choice == "required" and not names:
        problems.append(Problem(("tool_choice",), "requires_tools", "a call is required, but the request has no tools"))
    if not names:  # without tools, Anthropic refuses the setting
        return None
    return {"type": _CHOICES[choice]} if choice in _CHOICES else {"type": "tool", "name": choice}


def _check_choice(model: Model, body: dict[str, Any], problems: list[Problem]) -> None:
    forced = as_object(body.get("tool_choice")).get("type") in {"any", "tool"}
    if model.is_claude and forced and body["thinking"]["type"] in {"adaptive", "enabled"}:
        sentence, advice = "Claude does not think when it is forced to call a tool", "; leave out reasoning_effort"
        problems.append(Problem(("tool_choice",), "conflicts_with_thinking", sentence, advice=advice))


def _output_format(request: Request, problems: list[Problem]) -> dict[str, Any]:
    wanted = request.response_format
    if isinstance(wanted, JsonSchema):
        if (schema := native_schema(wanted)) is None:
            sentence = "Anthropic's structured output has no objects of any keys, no recursion and no untyped values"
            problems.append(Problem(("response_format", "schema"), "unsupported_schema", sentence))
        return {"format": {"type": "json_schema", "schema": schema}}
    if isinstance(wanted, Mapping):
        return {"format": dict(wanted)}
    if wanted == "json":
        sentence = "Anthropic has no JSON mode without a schema; pass allm.json_schema(...) or a class"
        problems.append(Problem(("response_format",), "unsupported_capability", sentence))
    return {}


def _more_tools(options: Mapping[str, Any]) -> list[Any]:
    """Tools in Anthropic's own words, such as its web search."""
    tools = options.get("tools")
    return list(tools) if isinstance(tools, tuple) else as_list(tools)


def _names(tools: Iterable[Any]) -> set[Any]:
    return {as_object(tool).get("name") for tool in tools}


def _with_options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**body, **options}
    more = _more_tools(options)
    if more:
        names = _names(more)
        merged["tools"] = [*(tool for tool in body.get("tools", ()) if tool["name"] not in names), *more]
    output = {**as_object(body.get("output_config")), **as_object(options.get("output_config"))}
    if output:
        merged["output_config"] = output
    return merged
