"""What a tool handler may return besides a result."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.attrs_fields import mapping_field

__all__ = ["AWAITING_USER", "RESERVED_REASONS", "AskUser", "Halt"]

AWAITING_USER = "<awaiting user response>"
"""What the model reads as the result of a call that asked the user."""

RESERVED_REASONS = frozenset(
    {
        "completed",
        "error",
        "max_turns",
        "halt_when",
        "ask_user",
        "tool_error",
        "manual_tool_calls",
        "cancelled",
        "incomplete",
    }
)
"""Halt reasons with a meaning of their own; a handler cannot use them."""


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
