"""A request with its tools in the instructions, for `tool_mode="prompted"`, and how the reply to it is read."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.json.text import as_object
from allm.data.message import call_ids
from allm.data.problems import Problem, refuse
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.data.tool_help import as_sent
from allm.execution.event_changes import NewChange
from allm.execution.output_modes import is_native, with_instructions
from allm.execution.prompted.events import RepliesWithCalls
from allm.execution.prompted.history import told_messages
from allm.execution.prompted.reply import ANSWER, ARGUMENTS, CALLS, TOOL
from allm.http.call import json_body
from allm.runtime.adapters import AdapterOptions
from allm.runtime.fitting import check_capabilities

__all__ = ["prompted"]

_NAME = "reply"
_TEXT: dict[str, Any] = {"type": "string"}
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def prompted(
    adapter: Any, request: Request, options: AdapterOptions, output_mode: str
) -> tuple[Request, NewChange | None]:
    """The request as it is sent, and what makes the change of the events that it leads to, if they have to be changed.

    Args:
        adapter: Sends it.
        request: The request, with its tools and its format.
        options: Adapter options of the call.
        output_mode: How the model is held to the form of its reply: natively, or by its instructions alone.

    Raises:
        ValidationError: A tool, a tool choice or a format that cannot be prompted.
    """
    tools = _offered(request)
    if not tools:
        messages = told_messages(request.messages, as_replies=False)
        return attrs.evolve(request, messages=messages, tools=(), tool_choice=None, parallel_tool_calls=None), None
    # Now, as the places in the messages are those of the caller's.
    check_capabilities(adapter, attrs.evolve(request, tools=(), response_format=None), options)
    answer = _answer_schema(request, output_mode)
    is_json, many = answer is not _TEXT, bool(request.parallel_tool_calls)
    may_be = answer if request.tool_choice in {None, "auto"} else None
    told = attrs.evolve(
        request,
        messages=told_messages(
            request.messages, as_replies=True, is_json=is_json, reminder="" if may_be is None else _REMINDER
        ),
        tools=(),
        tool_choice=None,
        parallel_tool_calls=None,
    )
    head = "You have tools." if told.messages[0].role == "system" else _ROLE
    told = with_instructions(told, f"{head} {_instructions(tools, may_be, many=many)}")
    schema = _reply_schema(tools, may_be, many=many)
    wanted = JsonSchema(_NAME, schema, strict=False)  # the schema of a tool need not be strict
    told = attrs.evolve(told, response_format=wanted)
    if not is_native(adapter, told, wanted, options, "auto" if output_mode == "tool" else output_mode):
        told = attrs.evolve(told, response_format=None)
    taken = frozenset(id_ for message in request.messages for id_ in call_ids(message))
    names = frozenset(tool.name for tool in request.tools)
    in_string = answer.get("type") in {"object", "array"}
    return told, functools.partial(RepliesWithCalls.of, names, taken, is_json=is_json, in_string=in_string)


def _offered(request: Request) -> tuple[Tool, ...]:
    """The tools that the model may call now."""
    choice = request.tool_choice
    problems = [
        Problem(("tools", index), "unsupported_capability", "is deferred, which needs native tools; use compact tools")
        for index, tool in enumerate(request.tools)
        if tool.deferred
    ]
    problems += [
        Problem(
            ("tools", index), "unsupported_tool", "runs at a provider, which needs native tools; use one of your own"
        )
        for index, tool in enumerate(request.tools)
        if tool.hosted
    ]
    tools = as_sent(request).tools if any(tool.compact for tool in request.tools) else request.tools
    named = {tool.name: tool for tool in tools}
    if isinstance(choice, Mapping):
        sentence = "is a mapping for native tools; expected 'auto', 'none', 'required' or a tool's name"
        problems.append(Problem(("tool_choice",), "unsupported_capability", sentence))
    elif choice == "required" and not tools:
        problems.append(Problem(("tool_choice",), "requires_tools", "a call is required, but there are no tools"))
    elif choice not in {None, "auto", "none", "required", *named}:
        sentence = f"is {choice!r}, which is none of the tools: {', '.join(named) or 'there are none'}"
        problems.append(Problem(("tool_choice",), "unknown_tool", sentence))
    refuse(problems)
    if choice == "none":
        return ()
    return (named[choice],) if isinstance(choice, str) and choice in named else tools


def _answer_schema(request: Request, output_mode: str) -> dict[str, Any]:
    match request.response_format:
        case None | "text":
            return _TEXT
        case JsonSchema(schema=schema):
            if output_mode == "tool":
                sentence = "is 'tool', but the tools are prompted, so no answer can be the call of one; use 'auto'"
                refuse([Problem(("output_mode",), "unsupported_capability", sentence)])
            return schema
        case "json":
            return _ANY_OBJECT
        case _:
            sentence = (
                "is a provider's own, which cannot be combined with prompted tools; use a type or json_schema(...)"
            )
            refuse([Problem(("response_format",), "unsupported_capability", sentence)])
            raise AssertionError


# --- what the model is told -------------------------------------------------------------------------------------------


_REMINDER = "Now answer the user, or call another tool."
"""Behind the results of calls; without it small models make the same call again."""
_CALL = f'{{"{TOOL}": "<name>", "{ARGUMENTS}": {{<arguments>}}}}'
_ROLE = "You are a helpful assistant, and you have tools."
"""Where the caller gives no instructions."""
_ANSWERS = {True: f'{{"{ANSWER}": "<text>"}}', False: f'{{"{ANSWER}": <JSON>}}'}


def _instructions(tools: tuple[Tool, ...], answer: dict[str, Any] | None, *, many: bool) -> str:
    """What a small model, SmolLM2 with 135 million parameters, was seen to follow best."""
    lines = ["Reply with one JSON object and nothing else.", f"To call a tool: {_CALL}"]
    if many:
        lines.append(f'To call several at once: {{"{CALLS}": [{_CALL}, ...]}}')
    if answer is None:
        lines.append("Call a tool now.")
    else:
        lines.append(f"To answer: {_ANSWERS[answer is _TEXT]}")
        lines.append("The result of a call comes in the next message; then call again, or answer.")
    lines += ["", "Tools:"]
    for tool in tools:
        lines.append(f"- {tool.name}: {tool.description}" if tool.description else f"- {tool.name}")
        lines.append(f"  Arguments: {json_body(tool.schema).decode()}")
    if answer is not None and answer is not _TEXT:
        lines += ["", f"The JSON of an answer: {json_body(answer).decode()}"]
    return "\n".join(lines)


# --- what it is held to -----------------------------------------------------------------------------------------------


def _reply_schema(tools: tuple[Tool, ...], answer: dict[str, Any] | None, *, many: bool) -> dict[str, Any]:
    """The schema of a reply; what schemas define is put at its root, where their references find it."""
    definitions: dict[str, Any] = {}
    calls = [
        _object(
            {TOOL: {"type": "string", "enum": [tool.name]}, ARGUMENTS: _within(tool.schema, f"{index}", definitions)}
        )
        for index, tool in enumerate(tools)
    ]
    kinds = list(calls)
    if many:
        kinds.append(_object({CALLS: {"type": "array", "items": _one_of(calls), "minItems": 1}}))
    if answer is not None:
        kinds.append(_object({ANSWER: _within(answer, ANSWER, definitions)}))
    schema = _one_of(kinds)
    return {**schema, "$defs": definitions} if definitions else schema


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _within(schema: Mapping[str, Any], name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a document as a part of another one, which gets its definitions, under names of its own."""
    groups = {group: as_object(schema.get(group)) for group in _GROUPS}
    moved = {f"#/{group}/{key}": f"{name}_{group.strip('$')}_{key}" for group, inner in groups.items() for key in inner}
    part = _Part(name, moved)
    document: dict[str, Any] = part.placed({key: value for key, value in schema.items() if key not in _OF_DOCUMENTS})
    for group, inner in groups.items():
        definitions |= {moved[f"#/{group}/{key}"]: part.placed(value) for key, value in inner.items()}
    if not part.refers_to_itself:
        return document
    definitions[name] = document
    return {"$ref": f"#/$defs/{name}"}


@define(eq=False)
class _Part:
    """A document that becomes a part of another one.

    Attributes:
        name: Its name among the definitions of the other one.
        moved: Its own definitions by their references, and their new names.
        refers_to_itself: Whether a reference in it leads to anything but these, so that it has to be a definition.
    """

    name: str
    moved: Mapping[str, str]
    refers_to_itself: bool = False

    def placed(self, node: Any, *, is_schema: bool = True) -> Any:
        """A schema in it, or what holds schemas, with references that lead where they should."""
        if isinstance(node, list):
            return [self.placed(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        made: dict[str, Any] = {}
        for key, value in node.items():
            if is_schema and key == "$ref" and isinstance(value, str) and value.startswith("#"):
                made[key] = self._reference(value)
            elif is_schema and key in _VALUES:
                made[key] = value
            else:
                made[key] = self.placed(value, is_schema=not (is_schema and key in _NAMED))
        return made

    def _reference(self, reference: str) -> str:
        known = next((old for old in self.moved if f"{reference}/".startswith(f"{old}/")), None)
        if known is None:
            self.refers_to_itself = True
            return f"#/$defs/{self.name}{reference[1:]}"
        return f"#/$defs/{self.moved[known]}{reference[len(known) :]}"


_GROUPS = ("$defs", "definitions")
_OF_DOCUMENTS = frozenset({*_GROUPS, "$schema", "$id"})
_VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords whose values are no schemas."""
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords whose values are schemas by names, which may be any word."""
