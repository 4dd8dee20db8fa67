"""Compact tools: a line for each in the request, and the tool `tool_help`, which tells the model the rest when it asks.

The line is the first sentence of the description and the names of the arguments. A tool that is forced by `tool_choice`
is sent in full, as the model has no occasion to ask. Lines depend on nothing else, so that a provider's prompt cache
holds from step to step.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import MOST_SHOWN, ToolError
from allm.data.json.text import dumps
from allm.data.problems import Problem, nearest, refuse
from allm.data.request import Request
from allm.data.tool import Tool

__all__ = ["TOOL_HELP", "ToolHelp", "as_sent", "help_text", "known_names", "missing_arguments", "with_help"]

TOOL_HELP = "tool_help"
MAX_SUMMARY = 160
"""Characters of a tool's line, without its arguments: two lines of a terminal say what a tool is for."""
_SENTENCE = re.compile(r".*?[.!?](?=\s+[^a-z\s]|\s*$)")  # not at "e.g. on"
_DESCRIPTION = (
    "Tells how to call tools whose description ends with [compact]: their whole description and the JSON Schema of "
    "their arguments. Ask for all the tools that you are going to need, before you call them."
)
_SCHEMA = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string"}, "description": "Names of tools."}},
    "required": ["names"],
    "additionalProperties": False,
}

# Said outright, since servers that hold a model to the schema by a grammar would leave no room for any argument.
_ANY = {"type": "object", "additionalProperties": True}


@frozen(eq=False)
class ToolHelp:
    """The handler of `tool_help`."""

    tools: Mapping[str, Tool] = attrs.field(repr=False)

    def __call__(self, arguments: Mapping[str, Any]) -> str:
        """The help texts of the tools that are asked for."""
        names = arguments.get("names")
        wanted = [names] if isinstance(names, str) else names
        if not (isinstance(wanted, list) and all(isinstance(name, str) for name in wanted)):
            raise ToolError("names: expected an array of names of tools", reason="invalid_arguments")
        return "\n\n".join(map(self._about, dict.fromkeys(cast("list[str]", wanted)))) or "No name was given."

    def _about(self, name: str) -> str:
        if (tool := self.tools.get(name)) is not None:
            return help_text(tool)
        near = nearest(name, self.tools, 3)
        return f"There is no tool {name}" + (f"; did you mean {' or '.join(near)}?" if near else ".")


def help_text(tool: Tool) -> str:
    """All that a request would say about the tool."""
    return f"{tool.name}: {tool.description}\nArguments, as JSON Schema: {dumps(tool.schema).decode()}"


def with_help(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """The tools of a request, `tool_help` behind them if one of them is compact.

    Raises:
        ValidationError: `duplicate_name`: there is another tool of that name.
    """
    own = tuple(tool for tool in tools if not isinstance(tool.handler, ToolHelp))
    if not any(tool.compact for tool in own):
        return own
    if any(tool.name == TOOL_HELP for tool in own):
        sentence = f"a tool has the name {TOOL_HELP}, which compact tools need for their own; rename it"
        refuse([Problem(("tools",), "duplicate_name", sentence)], reason="invalid_request")
    handler = ToolHelp({tool.name: tool for tool in own})
    return (*own, Tool(TOOL_HELP, _DESCRIPTION, _SCHEMA, handler=handler, thread=False))


def as_sent(request: Request) -> Request:
    """The request with a line in place of each compact tool."""
    tools = [_line(tool) if tool.compact and tool.name != request.tool_choice else tool for tool in request.tools]
    return attrs.evolve(request, tools=tools)


def _line(tool: Tool) -> Tool:
    required = _required(tool)
    optional = [name for name in tool.schema.get("properties", ()) if name not in required]
    words = [
        _summary(tool.description),
        "Args:" if required or optional else "",
        ", ".join(required),
        f"[{', '.join(optional)}]" if optional else "",
        "[compact]",
    ]
    return attrs.evolve(tool, description=" ".join(filter(None, words)), schema=_ANY)


def _summary(description: str) -> str:
    line = description.strip().partition("\n")[0].strip()
    sentence = _SENTENCE.match(line)
    text = sentence[0] if sentence else line
    return text if len(text) <= MAX_SUMMARY else f"{text[: MAX_SUMMARY - 3].rstrip()}..."


def _required(tool: Tool) -> list[str]:
    required = tool.schema.get("required")
    return [str(name) for name in cast("list[Any]", required)] if isinstance(required, (list, tuple)) else []


def missing_arguments(tool: Tool, arguments: Mapping[str, Any]) -> str | None:
    """What is missing of a call: the model has seen no schema, and a handler of its own may check nothing."""
    missing = [name for name in _required(tool) if name not in arguments]
    return f"missing required argument(s): {', '.join(missing)}" if missing else None


def known_names(names: Collection[str], wanted: str) -> str:
    """Which tools there are; of many only those with a similar name, as the model reads it all."""
    if len(names) <= MOST_SHOWN:
        return f"the tools are: {', '.join(names) or 'none'}"
    near = nearest(wanted, names, 5)
    hint = f"did you mean {' or '.join(near)}?" if near else "none has a similar name"
    return f"{hint} (there are {len(names)} tools)"
