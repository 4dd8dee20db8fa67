"""`StepChanges`: what `before_step` changes about the next model call of a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.message import Message, Thread
from allm.data.problems import tuple_of
from allm.data.request import ToolChoice, to_messages
from allm.data.tool import Tool
from allm.data.toolset import Toolset

__all__ = ["StepChanges", "StepChangesDict"]


def _tools(value: Iterable[Tool | Toolset] | None) -> tuple[Tool, ...] | None:
    # Sets become their tools before the changes are seen by anyone but who made them.
    return None if value is None else cast("tuple[Tool, ...]", tuple_of("tools", value))


def _messages(value: str | Message | Iterable[Message]) -> tuple[Message, ...]:
    return to_messages(value)


def _thread(value: str | Message | Thread | Iterable[Message] | None) -> Thread | None:
    return value if value is None or isinstance(value, Thread) else Thread(to_messages(value))


def _choice(value: ToolChoice | None) -> ToolChoice | None:
    return dict(value) if isinstance(value, Mapping) else value


@frozen(kw_only=True)
class StepChanges:
    """What `before_step` changes. `messages` join the conversation for good; all else is for the next model call only.

    Attributes:
        tools: The tools of the call, in place of all others; empty for none. Those that it asks for are run.
        model: The model id.
        tool_choice: As the option; "auto" undoes an earlier one.
        instructions: The text that the call has in place of the system messages of the conversation; "" for none.
        messages: Added to the end of the conversation, and kept there: in the result, the session, and later calls.
        thread: Sent in place of the conversation so far, such as a shortened one; the conversation itself stays whole.

    None stands for no change.
    """

    tools: tuple[Tool, ...] | None = attrs.field(default=None, converter=_tools)
    model: str | None = None
    tool_choice: ToolChoice | None = attrs.field(default=None, converter=_choice)
    instructions: str | None = None
    messages: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    thread: Thread | None = attrs.field(default=None, converter=_thread)


class StepChangesDict(TypedDict, total=False):
    """`StepChanges` as a dict."""

    tools: Iterable[Tool | Toolset] | None
    model: str | None
    tool_choice: ToolChoice | None
    instructions: str | None
    messages: str | Message | Iterable[Message]
    thread: str | Message | Thread | Iterable[Message] | None
