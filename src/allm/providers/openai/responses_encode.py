"""A `Request` as the body of POST /responses (https://platform.openai.com/docs/api-reference/responses/create).

Every call is stateless: the conversation is sent whole and nothing is stored (`store: false`), so that reasoning goes
back in its encrypted form, which is asked for where the model thinks.

`strict` is always sent with a tool, as the API's own default is true and refuses most schemas: it is what the tool's
metadata says, `Tool(..., metadata={"openai": {"strict": False}})`, else whether the schema fits the rules of strict
mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from allm.adapters import MEDIA_TYPES, AdapterOptions, Origin, Problem, refuse, unsupported_parts
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.providers.openai.presets import OPENAI, TAKES_MARKS, Preset
from allm.providers.openai.responses_items_encode import ItemEncoder, refused_part
from allm.providers.openai.shared_encode import (
    lacks,
    parameters,
    sampling,
    tool_choice,
    with_options,
)
from allm.providers.openai.strict import as_sent, fits_strict

__all__ = ["custom_tools", "encode"]


def encode(
    request: Request, options: AdapterOptions, preset: Preset = OPENAI, origin: Origin | None = None
) -> dict[str, Any]:
    """The request body; `request.options` are merged over it and win.

    Raises:
        ValidationError: With every problem found.
    """
    hosted: list[Problem] = []
    if any(tool.hosted for tool in request.tools):
        from allm.providers.openai.hosted_tools import with_hosted

        request = with_hosted(request, preset, hosted, responses=True)
    may_keep = preset.takes_cache_key and options.prompt_cache is not False
    marks = may_keep and TAKES_MARKS.match(request.model or "") is not None
    stored = request.options.get("store") is True
    encoder = ItemEncoder(preset, origin or Origin(preset.name), stored=stored, marks=marks)
    encoder.problems += hosted
    encoder.problems += unsupported_parts(request.messages, preset.name, refused_part, takes=MEDIA_TYPES)
    body: dict[str, Any] = {
        "model": request.model,
        "input": encoder.encode(request.messages),
        "stream": True,
        "store": False,
    }
    if preset.encrypted_reasoning is not None and re.match(preset.encrypted_reasoning, request.model or ""):
        body["include"] = ["reasoning.encrypted_content"]
    if request.logprobs is not None:
        body["include"] = [*body.get("include", ()), "message.output_text.logprobs"]
        body["top_logprobs"] = request.logprobs
    if request.tools:
        body["tools"] = [_tool(tool, request.tool_choice) for tool in request.tools]
        if any("defer_loading" in tool for tool in body["tools"]):
            body["tools"].append({"type": "tool_search"})
    summary = None if options.reasoning_summary == "none" else options.reasoning_summary
    choice = request.tool_choice
    optional = {
        "tool_choice": None if choice is None else tool_choice(request, encoder.problems, nested=False),
        "temperature": request.temperature,
        "max_output_tokens": request.max_tokens,
        **_sampling(request, preset, encoder.problems),
        "reasoning": _known(effort=options.reasoning_effort, summary=summary),
        "text": _known(format=_format(request.response_format, preset), verbosity=options.verbosity),
    }
    if encoder.marked or (options.prompt_cache, options.prompt_cache_key) != (None, None):
        from allm.providers.openai.prompt_cache import cache_fields

        optional |= cache_fields(options, preset, request, body["input"])
    body.update({name: value for name, value in optional.items() if value is not None})
    refuse(encoder.problems)
    return with_options(body, request.options) if request.options else body


def _sampling(request: Request, preset: Preset, problems: list[Problem]) -> dict[str, Any]:
    """The fields of a body of Responses, which has neither stop sequences nor a seed; None for what is not sent."""
    if request.stop:
        sentence = 'the Responses API has no stop sequences; use endpoint="chat_completions", or cut the text yourself'
        problems.append(lacks("stop", sentence))
    if request.seed is not None:
        sentence = 'the Responses API has no seed; use endpoint="chat_completions", or leave it out'
        problems.append(lacks("seed", sentence))
    given = (request.top_p, request.parallel_tool_calls, request.service_tier)
    return {} if given == (None, None, None) else sampling(request, preset, problems)


def _known(**fields: Any) -> dict[str, Any] | None:
    return {name: value for name, value in fields.items() if value is not None} or None


def _tool(tool: Tool, choice: Any) -> dict[str, Any]:
    asked = tool.metadata.get("openai")
    strict = cast("Mapping[str, Any]", asked).get("strict") if isinstance(asked, Mapping) else None
    schema = parameters(tool.schema)
    encoded: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": schema,
        "strict": fits_strict(schema) if strict is None else bool(strict),
    }
    # One that has to be called is not searched for.
    return {**encoded, "defer_loading": True} if tool.deferred and tool.name != choice else encoded


def _format(wanted: Any, preset: Preset) -> Any:
    if isinstance(wanted, JsonSchema):
        schema, strict = as_sent(wanted, preset)
        return {"type": "json_schema", "name": wanted.name, "schema": schema, "strict": strict}
    if isinstance(wanted, str):
        return {"type": "json_object" if wanted == "json" else "text"}
    inner = cast("Mapping[str, Any]", wanted).get("json_schema") if isinstance(wanted, Mapping) else None
    if isinstance(inner, Mapping):  # as Chat Completions has it
        return {"type": "json_schema", **cast("Mapping[str, Any]", inner)}
    return wanted


def custom_tools(body: Mapping[str, Any]) -> frozenset[str] | None:
    """The names of the tools with free text in a body, those of namespaces included.

    None: not known, as a stored prompt may have more of them.
    """
    return None if body.get("prompt") else frozenset(_custom_names(body.get("tools")))


def _custom_names(tools: Any) -> Iterator[str]:
    for tool in tools if isinstance(tools, (list, tuple)) else ():
        if isinstance(tool, Mapping):
            fields = cast("Mapping[str, Any]", tool)
            if fields.get("type") == "custom":
                yield str(fields.get("name"))
            yield from _custom_names(fields.get("tools"))
