"""A message: a role and its content, with derived views that are never stored twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import PART_TYPES, ImagePart, Part, ReasoningPart, TextPart, ToolCall
from allm.data.image import Image
from allm.data.problems import Problem, shown, wrong_type

__all__ = ["Message", "Role", "message_problems", "messages_problems", "unanswered_tool_calls"]

Role = Literal["system", "user", "assistant", "tool"]

_ROLES = frozenset(get_args(Role))


def _content(value: str | Iterable[Part]) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


@attrs.frozen
class Message:
    """One turn of a conversation.

    Attributes:
        content: Plain text, or parts in the order they are sent.
        tool_call_id: On a `tool` message: the call it answers.
        is_error: On a `tool` message: the tool failed.
    """

    role: Role
    content: str | tuple[Part, ...] = attrs.field(converter=_content)
    name: str | None = attrs.field(default=None, kw_only=True)
    tool_call_id: str | None = attrs.field(default=None, kw_only=True)
    is_error: bool = attrs.field(default=False, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, whichever way it was given."""
        return (TextPart(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """All visible text blocks in order, joined without separator."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls the model asks for, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def reasoning(self) -> tuple[ReasoningPart, ...]:
        """The thinking parts, in order."""
        return tuple(part for part in self.parts if isinstance(part, ReasoningPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images, in order."""
        return tuple(part for part in self.parts if isinstance(part, ImagePart))


def unanswered_tool_calls(messages: tuple[Message, ...]) -> tuple[str, ...]:
    """Ids of tool calls that no later `tool` message answers; providers reject such a conversation with a 400."""
    waiting: dict[str, None] = {}
    for message in messages:
        if message.role == "tool":
            waiting.pop(message.tool_call_id or "", None)
        else:
            waiting.update(dict.fromkeys(call.id for call in message.tool_calls))
    return tuple(waiting)


# --- checks: of the types that Python does not hold, and of what no vendor takes ------------------------------------


def messages_problems(messages: Any) -> list[Problem]:
    """The problems of a conversation, each with its place in it."""
    if not isinstance(messages, tuple):
        return [wrong_type(("messages",), messages, "messages")]
    problems: list[Problem] = []
    for index, message in enumerate(messages):
        # Every call checks its whole conversation, so a message without problems must cost next to nothing.
        if found := message_problems(message):
            problems += [problem.under("messages", index) for problem in found]
    return problems


def message_problems(message: Any) -> list[Problem]:
    """The problems of one message."""
    if not isinstance(message, Message):
        return [wrong_type((), message, "a Message: allm.user(text), allm.assistant(text)")]
    problems: list[Problem] = []
    role, content = message.role, message.content
    if not (isinstance(role, str) and role in _ROLES):
        problems.append(Problem(("role",), "unknown", f"is {shown(role)}; expected one of {_words(get_args(Role))}"))
    if isinstance(content, tuple):
        for index, part in enumerate(content):
            if (problem := _part_problem(part, role)) is not None:
                problems.append(problem.under("content", index))
    elif not isinstance(content, str):
        problems.append(wrong_type(("content",), content, "a text, or parts such as TextPart"))
    if role == "tool" and not (isinstance(message.tool_call_id, str) and message.tool_call_id):
        expected = "expected the id of the call that it answers: allm.tool_result(id, text)"
        problems.append(Problem(("tool_call_id",), "required", f"is {shown(message.tool_call_id)}; {expected}"))
    return problems


def _part_problem(part: Any, role: str) -> Problem | None:
    if isinstance(part, TextPart):  # nearly always
        return None
    if not isinstance(part, PART_TYPES):
        expected = ", ".join(cls.__name__ for cls in PART_TYPES)
        return Problem((), "invalid_part_type", f"is {type(part).__name__}; expected one of {expected}")
    if isinstance(part, ImagePart):
        if not isinstance(part.image, Image):
            return wrong_type(("image",), part.image, "Image: Image.from_file(path) makes one")
        if role == "system":
            return Problem(
                (), "image_in_system_message", "is an image; a system message takes text, a user's takes both"
            )
    if isinstance(part, ToolCall):
        if role != "assistant":
            sentence = f"is a tool call in a message of role {shown(role)}; expected it in an assistant message"
            return Problem((), "tool_call_outside_assistant_message", sentence)
        if not (isinstance(part.id, str) and part.id):
            return Problem(("id",), "required", f"is {shown(part.id)}; expected a text, which the result refers to")
    return None


def _words(words: tuple[str, ...]) -> str:
    return ", ".join(map(repr, words))
