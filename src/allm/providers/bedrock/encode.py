"""A `Request` as the body of Converse and ConverseStream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from allm.adapters import (
    AdapterOptions,
    Origin,
    OutputMode,
    Problem,
    SchemaSubset,
    as_object,
    dumps,
    fit_schema,
    refuse,
)
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.providers.bedrock.content_encode import ContentEncoder
from allm.providers.bedrock.names import ITSELF
from allm.providers.bedrock.thinking import claude_version, thinking_fields

__all__ = ["encode", "output_modes"]

_CHOICES = {"auto": "auto", "required": "any"}
_TIERS = {
    "auto": None,  # nothing is sent
    **dict.fromkeys(("default", "standard", "standard_only"), "default"),
    **{tier: tier for tier in ("priority", "flex", "reserved")},
}
_MERGED = frozenset({"inferenceConfig", "additionalModelRequestFields", "toolConfig"})
_FIRST_NATIVE = (4, 5)  # Claude's version
_SUBSET = SchemaSubset(keywords=frozenset(), formats=frozenset(), recursion="nowhere")
"""What every model with the native form takes: that of Claude on Bedrock, without the limits that it refuses."""


def encode(request: Request, options: AdapterOptions, origin: Origin = ITSELF) -> dict[str, Any]:
    """The request body. `request.options` win over it; configuration objects are merged, tools are added.

    Raises:
        ValidationError: With every problem found.
    """
    encoder = ContentEncoder(origin, marks=options.prompt_cache is not False)
    messages = encoder.encode(request.messages)
    problems = encoder.problems
    if any(tool.hosted for tool in request.tools):
        from allm.providers.bedrock.hosted import with_hosted

        request = with_hosted(request, problems)
    if not messages and not problems:
        sentence = "nothing is left to send beside the system prompt; Bedrock needs a message to answer"
        problems.append(Problem(("messages",), "empty", sentence))
    body: dict[str, Any] = {"messages": messages}
    if encoder.system:
        body["system"] = encoder.system
    config = _inference_config(request, problems)
    if config:
        body["inferenceConfig"] = config
    _add_tools(request, encoder, body, problems)
    _add_tier(request, body, problems)
    _add_format(request, body, problems)
    fields = thinking_fields(request.model or "", options, request.max_tokens, problems)
    if fields:
        body["additionalModelRequestFields"] = fields
    refuse(problems)
    return _with_options(body, request.options)


def output_modes(request: Request) -> tuple[OutputMode, ...]:
    """The ways to an answer that fits a schema, the best first: only newer Claudes are known to have the native one."""
    version = claude_version(request.model or "")
    wanted = request.response_format
    if version is not None and version >= _FIRST_NATIVE and isinstance(wanted, JsonSchema) and _native(wanted):
        return ("native", "tool", "prompted")
    return ("tool", "prompted")


def _native(wanted: JsonSchema) -> dict[str, Any] | None:
    return None if "anyOf" in wanted.schema else fit_schema(wanted.schema, _SUBSET)


def _inference_config(request: Request, problems: list[Problem]) -> dict[str, Any]:
    for name in ("seed", "logprobs"):
        if getattr(request, name) is not None:
            sentence = f"the Converse API has no {name}; leave it out"
            problems.append(Problem((name,), "unsupported_option", sentence))
    if request.parallel_tool_calls is False and request.tools:
        sentence = "the Converse API has no switch for parallel tool calls; leave it out"
        advice = ", and run them one after the other with max_concurrency=1 if need be"
        problems.append(Problem(("parallel_tool_calls",), "unsupported_option", sentence, advice=advice))
    config = {
        "maxTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) if request.stop else None,
    }
    return {name: value for name, value in config.items() if value is not None}


def _add_tools(request: Request, encoder: ContentEncoder, body: dict[str, Any], problems: list[Problem]) -> None:
    choice = request.tool_choice
    own = as_object(request.options.get("toolConfig")).get("tools")
    # There is no choice "none": then no tool is offered.
    tools = [] if choice == "none" else [_tool(tool) for tool in request.tools]
    if not tools and not own and encoder.called:
        # A conversation with calls in it has to define tools, even where none may be called any more.
        tools = [{"toolSpec": _gone(name)} for name in encoder.called]
        choice = None
    config: dict[str, Any] = {"tools": tools} if tools else {}
    if isinstance(choice, Mapping):
        config["toolChoice"] = dict(choice)
    elif choice is not None and choice != "none":
        names = {tool.name for tool in request.tools}
        if choice not in _CHOICES and choice not in names and not own:
            sentence = f"{choice!r} is neither auto, none, required nor the name of a tool of this request"
            problems.append(Problem(("tool_choice",), "unknown_tool", sentence))
        elif choice == "required" and not tools and not own:
            sentence = "a call is required, but the request has no tools"
            problems.append(Problem(("tool_choice",), "requires_tools", sentence))
        if tools or own:  # without tools, Bedrock refuses the setting
            config["toolChoice"] = {_CHOICES[choice]: {}} if choice in _CHOICES else {"tool": {"name": choice}}
    if config:
        body["toolConfig"] = config


def _tool(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": {"type": "object", **tool.schema}}}
    return {"toolSpec": {**spec, "description": tool.description} if tool.description else spec}


def _gone(name: str) -> dict[str, Any]:
    return {"name": name, "description": "No longer available.", "inputSchema": {"json": {"type": "object"}}}


def _add_tier(request: Request, body: dict[str, Any], problems: list[Problem]) -> None:
    tier = request.service_tier
    if tier is not None and tier not in _TIERS:
        sentence = f"Bedrock has no tier {tier!r}; expected one of {', '.join(map(repr, _TIERS))}"
        problems.append(Problem(("service_tier",), "unsupported_option", sentence))
    elif tier is not None and (word := _TIERS[tier]) is not None:
        body["serviceTier"] = {"type": word}


def _add_format(request: Request, body: dict[str, Any], problems: list[Problem]) -> None:
    wanted = request.response_format
    if isinstance(wanted, JsonSchema):
        schema = _native(wanted)
        if schema is None:
            sentence = "structured output on Bedrock has no objects of any keys, no recursion and no untyped values"
            problems.append(Problem(("response_format", "schema"), "unsupported_schema", sentence))
            return
        # The schema is a text inside the JSON.
        shape = {"name": wanted.name, "schema": dumps(schema).decode()}
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": shape}}}
    elif isinstance(wanted, Mapping):
        body["outputConfig"] = {"textFormat": dict(wanted)}
    elif wanted == "json":
        sentence = "the Converse API has no JSON mode without a schema"
        advice = "; pass allm.json_schema(...) or a class"
        problems.append(Problem(("response_format",), "unsupported_capability", sentence, advice=advice))


def _with_options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**body, **options}
    for name in _MERGED & options.keys() & body.keys():
        given = options[name]
        if isinstance(given, Mapping):
            merged[name] = {**body[name], **cast("Mapping[str, Any]", given)}
    more = as_object(options.get("toolConfig")).get("tools")
    if isinstance(more, (list, tuple)):
        merged["toolConfig"]["tools"] = [*as_object(body.get("toolConfig")).get("tools", ()), *more]
    return merged
