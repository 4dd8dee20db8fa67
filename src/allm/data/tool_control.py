"""`AskUser` and `Halt`, which a tool handler may return instead of a result, and the messages the model reads then."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import ToolCall
from allm.data.errors import ValidationError
from allm.data.json.text import dumps, value_problem
from allm.data.message import Message
from allm.data.problems import mapping_field

__all__ = ["AWAITING_USER", "AskUser", "Halt", "as_saved", "error_message", "exception_text"]

AWAITING_USER = "<awaiting user response>"
"""The result of a call that asked the user, as the model reads it."""


@frozen(init=False)
class AskUser:
    """Return this from a handler to halt the turn and ask the user.

    Attributes:
        hints: For displaying the question. Whoever shows it gets them as JSON data, encoded like a result.
    """

    question: str
    hints: dict[str, Any] = mapping_field()

    def __init__(self, question: str, **hints: Any) -> None:
        self.__attrs_init__(question, hints=hints)  # pyright: ignore[reportAttributeAccessIssue]


@frozen
class Halt:
    """Return this from a handler to halt the turn for a reason of your own; the model still gets `result`."""

    reason: str
    result: Any = attrs.field(default=None, hash=False)


def as_saved(asked: AskUser) -> AskUser:
    """The question with hints that a journal and a session can hold: encoded like a result, by the library's rules.

    Raises:
        ValueError: They cannot be saved; says why.
    """
    from allm.data.json.codec import to_json
    from allm.data.types.encode import as_json

    hints: dict[str, Any] = {}
    for name, hint in asked.hints.items():
        try:
            hints[name] = as_json(hint)
        except Exception as error:  # also from a property or a method of the caller's class
            raise ValueError(f"the hint {name!r} of the question has no JSON form: {exception_text(error)}") from error
    if (problem := value_problem(hints)) is not None:
        raise ValueError(f"the hints of the question cannot be saved: their object {problem}")
    encoded = AskUser(asked.question, **hints)
    try:
        to_json(encoded)
    except ValidationError as error:  # too long or too deep for any document
        raise ValueError(f"the hints of the question cannot be saved: {exception_text(error)}") from error
    return encoded


def error_message(call: ToolCall, kind: str, text: str) -> Message:
    """The result message of a failed call: type and message of the error, without internals such as a traceback."""
    content = dumps({"error": {"type": kind, "message": text}}).decode()
    return Message("tool", content, tool_call_id=call.id, name=call.name, is_error=True)


def exception_text(error: Exception) -> str:
    """The message of an exception; for a group, such as a nursery raises, the messages of all its members."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(map(exception_text, error.exceptions))
    try:
        text = str(error)
        return f"KeyError: {text}" if type(error) is KeyError else text or type(error).__name__  # it is the key alone
    except Exception:  # the caller's own class may have a broken __str__
        return type(error).__name__
