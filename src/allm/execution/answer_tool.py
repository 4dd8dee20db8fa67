"""An answer that comes as the arguments of a tool: the tool exists on the wire only, and its call is seen as text.

So a response, its stream, its conversation and what is saved of it are the same whichever way the model was asked. The
call's events become those of a block of text before anything counts, folds or shows them. Of several such calls in one
response the first one is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.content import Part, TextPart, ToolCall
from allm.data.events import (
    AdapterEvent,
    MessageCompleted,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.data.json.text import dumps, parse_arguments
from allm.data.request import Request
from allm.data.tool import Tool

__all__ = ["AnswerAsCall", "with_answer_tool"]

_MAX_NAME = 64  # characters of a tool's name
_DESCRIPTION = "Give the final answer with this tool, once, as soon as it is known."


def with_answer_tool(request: Request, name: str, schema: dict[str, Any]) -> tuple[Request, str]:
    """The request with a tool for its answer in place of its format, and the name of that tool.

    The model has to call it; where the request has tools of its own, one of them all.
    """
    taken = {tool.name for tool in request.tools}
    name = f"answer_{name}"[:_MAX_NAME]
    while name in taken:
        name = f"_{name}"[:_MAX_NAME]
    choice = request.tool_choice
    if not request.tools or choice == "none":
        choice = name
    elif choice in (None, "auto"):
        choice = "required"  # another choice, of one tool, holds now: the answer will come in a later call
    tool = Tool(name, _DESCRIPTION, schema)
    return attrs.evolve(request, tools=(*request.tools, tool), tool_choice=choice, response_format=None), name


@define(eq=False)
class AnswerAsCall:
    """The events of one attempt at a request `with_answer_tool`, with the answer as text.

    Attributes:
        first: The id of the call that is the answer.
        ids: Those of all calls of the tool.
    """

    tool: str
    first: str | None = None
    ids: set[str] = attrs.field(factory=set[str], init=False)
    _pieces: list[str] = attrs.field(factory=list[str], init=False)

    def changed(self, events: Iterable[AdapterEvent]) -> Iterator[AdapterEvent]:
        """The events with text in place of the calls."""
        for event in events:
            if isinstance(event, (ToolCallStarted, ToolCallCompleted)) and event.name == self.tool:
                self.ids.add(event.id)
                self.first = self.first or event.id
            if isinstance(event, MessageCompleted):
                yield self._whole(event)
            elif not isinstance(event, (ToolCallStarted, ToolCallDelta, ToolCallCompleted)) or event.id not in self.ids:
                yield event
            elif event.id == self.first:
                yield from self._text(event)

    def held(self) -> tuple[AdapterEvent, ...]:
        """Nothing is."""
        return ()

    def _text(self, event: ToolCallStarted | ToolCallDelta | ToolCallCompleted) -> Iterator[AdapterEvent]:
        block = f"answer-{self.first}"
        if isinstance(event, ToolCallDelta):
            self._pieces.append(event.arguments_delta)
            yield TextDelta(block, event.arguments_delta)
        elif isinstance(event, ToolCallCompleted):
            text = self._written(event.arguments, event.raw_arguments)
            if not self._pieces:  # it came whole
                yield TextDelta(block, text)
            yield TextCompleted(block, text)

    def _written(self, arguments: Mapping[str, Any] | None, raw: str | None) -> str:
        """The arguments as the model wrote them, as far as that is known."""
        text = raw or "".join(self._pieces)
        if arguments is None or (text and parse_arguments(text) == arguments):
            return text
        return dumps(dict(arguments)).decode()

    def _whole(self, event: MessageCompleted) -> MessageCompleted:
        if not self.ids:
            return event
        message, finish = event.message, event.finish_reason
        content = message.content if isinstance(message.content, str) else tuple(self._parts(message.parts))
        message = attrs.evolve(message, content=content)
        if finish == "tool_calls" and not message.tool_calls:
            finish = "stop"
        return attrs.evolve(event, message=message, finish_reason=finish)

    def _parts(self, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            if not (isinstance(part, ToolCall) and part.id in self.ids):
                yield part
            elif part.id == self.first and (text := self._written(part.arguments, part.raw_arguments)):
                yield TextPart(text)
