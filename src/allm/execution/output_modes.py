"""How a model is asked for an answer that fits a schema: natively, as the call of a tool, or in its instructions.

`auto` is the first way that the model has: what its adapter says, else what the catalog says. A fact that nobody knows
counts as yes. The request that an adapter gets has the schema as its format (`native`), or as a tool that has to be
called (`tool`, see `answer_tool.py`), or as a system message (`prompted`), which every model takes.
"""

from __future__ import annotations

import functools
from typing import Any

import attrs

from allm.data.errors import Problem, ValidationError
from allm.data.message import system
from allm.data.request import JsonSchema, Request
from allm.execution.event_changes import NewChange
from allm.http.call import json_body
from allm.runtime import catalog
from allm.runtime.adapters import AdapterOptions, OutputMode
from allm.runtime.fitting import check_capabilities, missing, needs_two_passes
from allm.runtime.http_adapter import as_adapter
from allm.runtime.option_table import invalid_option

__all__ = ["asked_for", "calls_for_format_last", "check_last_call", "format_of", "is_native", "with_instructions"]

_INSTRUCTIONS = """\
Your final answer must be one JSON document that fits the JSON Schema below. Write the JSON alone, without any text \
around it.

"""


def asked_for(
    adapter: Any, request: Request, wanted: JsonSchema, options: AdapterOptions, mode: str
) -> tuple[Request, NewChange | None]:
    """The request as it is sent, and what makes the change of its events, if they have to be changed.

    Args:
        adapter: Sends it.
        request: The request, with `wanted` as its format.
        options: Adapter options of the call.
        mode: The call's `output_mode`.

    Raises:
        ValidationError: `unsupported_capability`: the model does not have the mode that was asked for.
    """
    match _chosen(adapter, request, wanted, options, mode):
        case "native":
            return request, None
        case "tool":
            from allm.execution.answer_tool import AnswerAsCall, with_answer_tool

            request, name = with_answer_tool(request, wanted.name, wanted.schema)
            return request, functools.partial(AnswerAsCall, name)
        case "prompted":
            return _instructed(request, wanted), None


def check_last_call(adapter: Any, request: Request, options: AdapterOptions, mode: str) -> None:
    """Refuse what the call for the format, in the end of a turn, would be refused for: before the turn begins.

    Raises:
        ValidationError: `unsupported_capability`, as for `asked_for`, and for the check of capabilities.
    """
    if isinstance(wanted := request.response_format, JsonSchema):
        sent, _ = asked_for(adapter, request, wanted, options, mode)
        check_capabilities(adapter, sent, options)


def calls_for_format_last(adapter: Any, request: Request, options: AdapterOptions, mode: str) -> bool:
    """Whether a turn runs the request's tools first, and asks for its format in one last call without them.

    So it is where the model takes only one of the two at a time, and where the answer comes as the call of a tool: a
    model that has to call some tool would go on calling the others.
    """
    wanted = request.response_format
    if not request.tools or not isinstance(wanted, JsonSchema):
        return False
    alone = attrs.evolve(request, tools=(), tool_choice=None)
    match mode if mode != "auto" else _modes(adapter, alone, wanted, options)[0]:
        case "native":
            return bool(as_adapter(adapter).needs_structured_finalize(request)) or needs_two_passes(
                adapter, request, options
            )
        case last:
            return last == "tool"


def _chosen(adapter: Any, request: Request, wanted: JsonSchema, options: AdapterOptions, mode: str) -> OutputMode:
    modes = _modes(adapter, request, wanted, options)
    if mode == "auto":
        return modes[0]
    if mode == "native":  # what the model lacks is said by the check of its capabilities
        said = as_adapter(adapter).output_modes(request, options)
        if said is None or "native" in said:
            return "native"
    elif mode == "prompted":
        return "prompted"
    elif mode in modes:
        return "tool"
    sentence = f"model {request.model!r} {_why_not(wanted, mode)}; use output_mode={modes[0]!r}, or 'auto'"
    raise ValidationError([Problem(("output_mode",), "unsupported_capability", sentence)], reason="invalid_request")


def _why_not(wanted: JsonSchema, mode: str) -> str:
    if mode == "native":
        return "cannot hold its answer to this JSON Schema"
    if not _is_object(wanted):
        return "takes an object as the arguments of a tool, and the schema is that of another value"
    return "cannot be made to call a tool, or not while it thinks"


def _modes(adapter: Any, request: Request, wanted: JsonSchema, options: AdapterOptions) -> list[OutputMode]:
    """The ways that the model has, the best first."""
    denied = missing(adapter, request, options)
    info = catalog.lookup(adapter.provider, request.model) if request.model else None
    is_native = "json_schema" not in denied and not (request.tools and "json_schema_with_tools" in denied)
    by_catalog: list[OutputMode] = ["native", "tool", "prompted"] if is_native else ["tool", "prompted"]
    said = as_adapter(adapter).output_modes(request, options)
    modes = by_catalog if said is None else said
    called = as_adapter(adapter).tool_modes(request, options)
    can_call = (
        "tools" not in denied
        and (called is None or "native" in called)
        and (info is None or info.forced_tool_choice is not False)
    )
    return [mode for mode in modes if mode != "tool" or (can_call and _is_object(wanted))] or ["prompted"]


def _is_object(wanted: JsonSchema) -> bool:
    return bool(wanted.schema.get("type", "object") == "object")


def _instructed(request: Request, wanted: JsonSchema) -> Request:
    """The request with the schema in its instructions, in place of its format."""
    told = with_instructions(request, _INSTRUCTIONS + json_body(wanted.schema).decode())
    return attrs.evolve(told, response_format=None)


def with_instructions(request: Request, text: str) -> Request:
    """The request with one more system message behind those that it begins with."""
    messages = request.messages
    place = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    return attrs.evolve(request, messages=(*messages[:place], system(text), *messages[place:]))


def is_native(adapter: Any, request: Request, wanted: JsonSchema, options: AdapterOptions, mode: str) -> bool:
    """Whether the model is held to `wanted` natively; if not, it has to be told of it.

    Args:
        adapter: Sends the request.
        request: The request, with `wanted` as its format.
        wanted: The format.
        options: Adapter options of the call.
        mode: The call's `output_mode`, but `tool`.

    Raises:
        ValidationError: As for `asked_for`.
    """
    return _chosen(adapter, request, wanted, options, mode) == "native"


def format_of(hint: Any) -> JsonSchema:
    """The `JsonSchema` of a type, with the type as its `output_type`.

    Raises:
        ValidationError: `no_schema`: no JSON Schema says what the type does.
    """
    from allm.data.types.output import answer_name, answer_schema
    from allm.data.types.shapes import name_of

    try:
        schema = answer_schema(hint)
    except TypeError as error:
        name, what = name_of(hint)[:60], str(error)
        raise invalid_option(
            "response_format", "no_schema", what if what.startswith(name) else f"{name}: {what}"
        ) from error
    return JsonSchema(answer_name(hint), schema, output_type=hint)
