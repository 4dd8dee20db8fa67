"""Messages and conversations of them: the values, the short ways to build them, and their order when they are sent.

A message's derived views are never stored twice. A conversation can hold what no provider takes: it comes from another
provider, from a model that made up a tool, from a user who wrote while tools ran. The values stay as they are; only
what is sent is put in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

import attrs

from allm.data.content import PART_TYPES, ImagePart, Part, ReasoningPart, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.problems import Problem, mapping_field, refuse, shown, tuple_of, wrong_type

__all__ = [
    "Message",
    "Role",
    "Thread",
    "assistant",
    "call_name",
    "message_problems",
    "messages_problems",
    "results_in_place",
    "system",
    "thread_problems",
    "to_messages",
    "tool_result",
    "unanswered_tool_calls",
    "user",
]

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


def _joined(pieces: tuple[Any, ...]) -> str | tuple[Part, ...]:
    if len(pieces) == 1 and isinstance(pieces[0], str):
        return pieces[0]
    parts: list[Part] = []
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(TextPart(piece))
        elif isinstance(piece, Image):
            parts.append(ImagePart(piece))
        elif isinstance(piece, PART_TYPES):
            parts.append(cast("Part", piece))
        else:
            sentence = f"is {type(piece).__name__}; expected str, Image or a part such as TextPart"
            raise ValidationError(
                [Problem(("content", index), "invalid_part_type", sentence)], reason="invalid_message"
            )
    return tuple(parts)


def system(text: str) -> Message:
    """Instructions for the model."""
    return Message("system", text)


def user(*content: str | Image | Part) -> Message:
    """A user turn: text, or text and images in order: `user("What is this?", Image.from_file("x.png"))`."""
    return Message("user", _joined(content))


def assistant(*content: str | Part) -> Message:
    """An assistant turn, for conversations that are written by hand."""
    return Message("assistant", _joined(content))


def tool_result(tool_call_id: str, content: str, *, is_error: bool = False) -> Message:
    """The answer to a tool call."""
    return Message("tool", content, tool_call_id=tool_call_id, is_error=is_error)


def to_messages(value: str | Message | Thread | Iterable[Message]) -> tuple[Message, ...]:
    """Anything that stands for a conversation, as messages.

    Raises:
        ValidationError: It is of another type, or holds something else than messages.
    """
    if isinstance(value, str):
        return (user(value),)
    if isinstance(value, Message):
        return (value,)
    if isinstance(value, Thread):
        return value.messages
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        return _checked(tuple(value))
    expected = "expected str, Message, Thread, Request, or an iterable of Message"
    problem = Problem(("messages",), "invalid_type", f"cannot convert {type(value).__name__} to messages; {expected}")
    raise ValidationError([problem], reason="invalid_request")


def _checked(values: tuple[Any, ...]) -> tuple[Message, ...]:
    expected = "a Message: allm.user(text), allm.system(text), allm.assistant(text), allm.tool_result(id, text)"
    refuse(
        [
            wrong_type(("messages", index), value, expected)
            for index, value in enumerate(values)
            if not isinstance(value, Message)
        ]
    )
    return values


def _message_tuple(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple_of("messages", value)


@attrs.frozen
class Thread:
    """Messages in order. Adding gives a new thread; the old one stays as it was."""

    messages: tuple[Message, ...] = attrs.field(default=(), converter=_message_tuple)
    metadata: dict[str, Any] = mapping_field()

    def add(self, *messages: Message) -> Thread:
        """A new thread with `messages` at the end."""
        return attrs.evolve(self, messages=self.messages + messages)

    @property
    def last(self) -> Message | None:
        """The newest message, or None."""
        return self.messages[-1] if self.messages else None


def thread_problems(thread: Thread) -> list[Problem]:
    """The problems of a conversation's messages."""
    return messages_problems(thread.messages)


_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME = 64


def call_name(name: str) -> str:
    """The name of a called tool in the characters that every provider takes; a model may call what does not exist."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME] or "unnamed"


def results_in_place(messages: Iterable[Message]) -> list[tuple[int, Message]]:
    """The messages with their indexes, the results of a message's calls directly behind it.

    What came between a call and its result follows the results. A result without a call stays where it is.
    """
    rows: list[list[tuple[int, Message]]] = []
    waiting: list[tuple[set[str], list[tuple[int, Message]]]] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            call_id = message.tool_call_id or ""
            found = next((group for group in reversed(waiting) if call_id in group[0]), None)
            if found is not None:
                found[0].remove(call_id)
                found[1].append((index, message))
                continue
        row = [(index, message)]
        rows.append(row)
        calls = {call.id for call in message.tool_calls}
        if calls:
            waiting.append((calls, row))
    return [item for row in rows for item in row]
