"""What a tool handler may return besides a result, and what the model reads in such cases."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.content import ToolCall
from allm.data.json.text import dumps
from allm.data.message import Message
from allm.data.problems import mapping_field

__all__ = ["AWAITING_USER", "AskUser", "Halt", "error_message"]

AWAITING_USER = "<awaiting user response>"
"""What the model reads as the result of a call that asked the user."""


@attrs.frozen(init=False)
class AskUser:
    """Return this from a handler to stop the turn and ask the user; `hints` are for whoever shows the question."""

    question: str
    hints: dict[str, Any] = mapping_field()

    def __init__(self, question: str, **hints: Any) -> None:
        self.__attrs_init__(question, hints=hints)  # pyright: ignore[reportAttributeAccessIssue]


@attrs.frozen
class Halt:
    """Return this from a handler to stop the turn for a reason of your own; `result` still goes to the model."""

    reason: str
    result: Any = attrs.field(default=None, hash=False)


def error_message(call: ToolCall, kind: str, text: str) -> Message:
    """The result message of a call that failed, as the model reads it: two fields and nothing of the internals."""
    content = dumps({"error": {"type": kind, "message": text}}).decode()
    return Message("tool", content, tool_call_id=call.id, name=call.name, is_error=True)
