"""`AskUser` and `Halt`, which a tool handler may return instead of a result, and the messages the model reads then."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.content import ToolCall
from allm.data.json.text import dumps
from allm.data.message import Message
from allm.data.problems import mapping_field

__all__ = ["AWAITING_USER", "AskUser", "Halt", "error_message"]

AWAITING_USER = "<awaiting user response>"
"""The result of a call that asked the user, as the model reads it."""


@attrs.frozen(init=False)
class AskUser:
    """Return this from a handler to halt the turn and ask the user.

    Attributes:
        hints: For displaying the question. Whoever shows it gets them as JSON data, encoded like a result.
    """

    question: str
    hints: dict[str, Any] = mapping_field()

    def __init__(self, question: str, **hints: Any) -> None:
        self.__attrs_init__(question, hints=hints)  # pyright: ignore[reportAttributeAccessIssue]


@attrs.frozen
class Halt:
    """Return this from a handler to halt the turn for a reason of your own; the model still gets `result`."""

    reason: str
    result: Any = attrs.field(default=None, hash=False)


def error_message(call: ToolCall, kind: str, text: str) -> Message:
    """The result message of a failed call: type and message of the error, without internals such as a traceback."""
    content = dumps({"error": {"type": kind, "message": text}}).decode()
    return Message("tool", content, tool_call_id=call.id, name=call.name, is_error=True)
