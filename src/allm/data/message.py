"""Messages and conversations: the values, functions to build them, and their checks.

A conversation may be one that a provider would reject: it comes from another provider, its model called a tool that
does not exist, or its user wrote while tools ran. The values stay as they are; what is sent is put in order elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.citation import Citation
from allm.data.content import (
    HOLDS,
    MEDIA_TYPES,
    PART_TYPES,
    HostedCall,
    ImagePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    hosted_calls_in,
)
from allm.data.errors import ValidationError
from allm.data.media import Media, media_problem
from allm.data.message_pieces import for_dicts, parts_of, refuse_file_name
from allm.data.problems import Problem, mapping_field, shown, tuple_of, wrong_type
from allm.data.turn_starts import turn_starts

__all__ = [
    "Message",
    "Role",
    "Thread",
    "assistant",
    "call_ids",
    "message_problems",
    "messages_problems",
    "put_begun",
    "put_encoded",
    "system",
    "thread_problems",
    "unanswered_in",
    "unanswered_tool_calls",
    "user",
]

Role = Literal["system", "user", "assistant", "tool"]

_ROLES = frozenset(get_args(Role))


def _content(value: str | Iterable[Part]) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


class _Checked:
    """Keeps what a check has found with the value, so that a message is checked once, however often it is sent.

    No part of the value: neither compared, copied nor written. Not set before the value was found to be valid.
    """

    __slots__ = ("_begun", "_encoded", "_found")

    _encoded: Any  # of a message: what `keep_encoding` was given; in `_begun`, what `Beginning` keeps
    _found: Any  # of a message: the ids of its calls; of a conversation: what is known of its beginning


_put_found: Any = vars(_Checked)["_found"].__set__
put_begun: Any = vars(_Checked)["_begun"].__set__
put_encoded: Any = vars(_Checked)["_encoded"].__set__


@frozen
class Message(_Checked):
    """One message of a conversation.

    Attributes:
        role: Who says it: `system`, `user`, `assistant`, or `tool` for the result of a call.
        content: Plain text, or parts in order.
        name: The name of the user, or in a `tool` message that of the tool, for providers that have a place for it.
        tool_call_id: For a `tool` message: the id of the call whose result it is.
        is_error: For a `tool` message: the tool failed.
        metadata: Your own data; it is not sent.
    """

    role: Role
    content: str | tuple[Part, ...] = attrs.field(converter=_content)
    name: str | None = attrs.field(default=None, kw_only=True)
    tool_call_id: str | None = attrs.field(default=None, kw_only=True)
    is_error: bool = attrs.field(default=False, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts; plain text is one part."""
        return (TextPart(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The text of all text parts in order, joined without a separator."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls the model asks for, in order."""
        # Every turn looks through its whole conversation for calls, so a plain text must cost next to nothing.
        content = self.content
        return () if isinstance(content, str) else tuple(part for part in content if isinstance(part, ToolCall))

    @property
    def reasoning(self) -> tuple[ReasoningPart, ...]:
        """The reasoning parts, in order."""
        return tuple(part for part in self.parts if isinstance(part, ReasoningPart))

    @property
    def hosted_calls(self) -> tuple[HostedCall, ...]:
        """What tools of the provider did, each call once, in the order in which they began."""
        return () if isinstance(self.content, str) else hosted_calls_in(self.content)

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The citations of all text parts, in order; the place of each is in the text of its own part."""
        if isinstance(self.content, str):
            return ()
        return tuple(citation for part in self.content if isinstance(part, TextPart) for citation in part.citations)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images, in order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))


def unanswered_tool_calls(messages: tuple[Message, ...]) -> tuple[str, ...]:
    """Ids of tool calls without a result; providers reject such a conversation with a 400."""
    waiting: dict[str, None] = {}
    for message in messages:
        if message.role == "tool":
            waiting.pop(message.tool_call_id or "", None)
        elif type(message.content) is not str and (ids := call_ids(message)):
            waiting.update(dict.fromkeys(ids))
    return tuple(waiting)


# --- checks: types, which Python does not enforce, and what no vendor accepts ---------------------------------------


def messages_problems(messages: Any, *, begun_elsewhere: bool = False) -> list[Problem]:
    """The problems of a conversation, each with its path: of its messages, and if there are none, of their order.

    Args:
        messages: The conversation.
        begun_elsewhere: Calls may have been made in messages that are not here.
    """
    if not isinstance(messages, tuple):
        return [wrong_type(("messages",), messages, "messages")]
    problems: list[Problem] = []
    for index, message in enumerate(messages):
        # Every call checks its whole conversation, so a valid message must cost next to nothing.
        if not _is_valid(message) and (found := message_problems(message)):
            problems += [problem.under("messages", index) for problem in found]
    return problems or _result_problems(messages, begun_elsewhere=begun_elsewhere)


def _result_problems(messages: tuple[Message, ...], *, begun_elsewhere: bool) -> list[Problem]:
    """Results that do not belong to a call of their own before them; every vendor refuses them, each in its own way."""
    problems: list[Problem] = []
    waiting: dict[str, int] = {}  # how many calls have this id: some servers use one again in a later answer
    answered: dict[str, int] = {}  # where
    for index, message in enumerate(messages):
        if message.role != "tool":
            if type(message.content) is not str:
                for call_id in call_ids(message):
                    waiting[call_id] = waiting.get(call_id, 0) + 1
            continue
        call_id = message.tool_call_id or ""
        if waiting.get(call_id):
            waiting[call_id] -= 1
        elif call_id in answered:
            sentence = f"is {shown(call_id)}, whose result is in messages[{answered[call_id]}]; a call has one result"
            problems.append(Problem(("messages", index, "tool_call_id"), "duplicate_result", sentence))
            continue
        elif not begun_elsewhere:
            sentence = (
                f"is {shown(call_id)}, a call that no assistant message before it makes; keep calls and results "
                "together, as Thread.last_turns does, or leave the result out"
            )
            problems.append(Problem(("messages", index, "tool_call_id"), "unknown_tool_call", sentence))
            continue
        answered[call_id] = index
    return problems


def call_ids(message: Message) -> tuple[str, ...]:
    """The ids of the calls in a message; one that is there twice is one call."""
    try:
        ids: tuple[str, ...] = message._found
    except AttributeError:
        content = message.content
        ids = () if isinstance(content, str) else tuple({p.id: None for p in content if isinstance(p, ToolCall)})
    return ids


def _is_valid(message: Any) -> bool:
    return (type(message) is Message and hasattr(message, "_found")) or not message_problems(message)


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
        expected = "expected the id of the call whose result it is: allm.tool_result(id, text)"
        problems.append(Problem(("tool_call_id",), "required", f"is {shown(message.tool_call_id)}; {expected}"))
    if not problems and type(message) is Message:
        _put_found(message, call_ids(message) if isinstance(content, tuple) else ())
    return problems


def _part_problem(part: Any, role: str) -> Problem | None:
    if isinstance(part, TextPart):  # by far the most common
        return None
    if not isinstance(part, PART_TYPES):
        expected = ", ".join(cls.__name__ for cls in PART_TYPES)
        sentence = f"is {type(part).__name__}; expected one of {expected}{for_dicts(part)}"
        return Problem((), "invalid_part_type", sentence)
    if isinstance(part, MEDIA_TYPES):
        kind = HOLDS[type(part)]
        word = kind.word
        if (problem := media_problem(getattr(part, word), kind)) is not None:
            return problem.under(word)
        if role == "system":
            sentence = f"is {kind.phrase}; a system message takes text, a user's takes both"
            return Problem((), f"{word}_in_system_message", sentence)
    if isinstance(part, ToolCall):
        if role != "assistant":
            sentence = f"is a tool call in a message of role {shown(role)}; expected it in an assistant message"
            return Problem((), "tool_call_outside_assistant_message", sentence)
        if not (isinstance(part.id, str) and part.id):
            return Problem(("id",), "required", f"is {shown(part.id)}; expected a text, which the result refers to")
        if part.arguments is not None and not isinstance(part.arguments, Mapping):
            return wrong_type(("arguments",), part.arguments, "a dict, as json.loads makes of a text, or None")
    return None


def _words(words: tuple[str, ...]) -> str:
    return ", ".join(map(repr, words))


def system(text: str, *more: str | Part) -> Message:
    """Instructions for the model: a text, or several, with `cache_point()` behind those that stay the same."""
    return Message("system", parts_of((text, *more)) if more else text)


def user(*content: str | Media | Part) -> Message:
    """A user message of text, or of text and files in order: `user("What is this?", Image.from_file("x.png"))`.

    Raises:
        ValidationError: A piece is none of these, or a text beside others is only the name of a file of these kinds.
    """
    if len(content) == 1 and isinstance(content[0], str):
        return Message("user", content[0])
    for index, piece in enumerate(content):
        if isinstance(piece, str):
            refuse_file_name(piece, index)
    return Message("user", parts_of(content))


def assistant(*content: str | Part) -> Message:
    """An assistant message, for conversations that are written by hand."""
    return Message("assistant", parts_of(content))


def _message_tuple(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple_of("messages", value)


@frozen
class _Beginning:
    """What is known of a conversation: its first messages are valid and in order.

    Attributes:
        length: How many they are.
        waiting: Calls among them without a result, by id how many.
        unanswered: As `unanswered_tool_calls` has it.
    """

    length: int = 0
    waiting: Mapping[str, int] = attrs.field(factory=dict[str, int])
    unanswered: tuple[str, ...] = ()

    def and_more(self, messages: tuple[Message, ...]) -> _Beginning | None:
        """What is known once all messages are checked; None where something is wrong."""
        waiting, unanswered = dict(self.waiting), dict.fromkeys(self.unanswered)
        for message in messages[self.length :]:
            if not _is_valid(message):
                return None
            if message.role != "tool":
                unanswered.update(dict.fromkeys(call_ids(message)))
                for call_id in call_ids(message):
                    waiting[call_id] = waiting.get(call_id, 0) + 1
                continue
            call_id = message.tool_call_id or ""
            unanswered.pop(call_id, None)
            if not waiting.get(call_id):
                return None
            waiting[call_id] -= 1
        return _Beginning(len(messages), {id_: left for id_, left in waiting.items() if left}, tuple(unanswered))


_NOTHING = _Beginning()


@frozen
class Thread(_Checked):
    """A conversation: messages, the oldest first. `add` returns a new thread and leaves this one unchanged.

    Attributes:
        metadata: Your own data; it is not sent.
    """

    messages: tuple[Message, ...] = attrs.field(default=(), converter=_message_tuple)
    metadata: dict[str, Any] = mapping_field()

    def add(self, *messages: Message) -> Thread:
        """A new thread with `messages` at the end."""
        longer = attrs.evolve(self, messages=self.messages + messages)
        _put_found(longer, _beginning_of(self))
        return longer

    @property
    def last(self) -> Message | None:
        """The newest message, or None."""
        return self.messages[-1] if self.messages else None

    def last_turns(self, n: int) -> Thread:
        """A new thread with the last `n` turns of the conversation, whole, and with all system messages.

        A turn begins with what the user says: one message, or several in a row. It ends before the next one, so it
        includes the model's answers, all tool calls with their results, and the questions of tools with the user's
        answers. A message of the user between a call and its result begins no turn. What comes before the first turn,
        such as a greeting, is kept if all turns are.

        Args:
            n: The number of turns, 0 or more. The thread is unchanged if it has no more.

        Raises:
            ValidationError: `n` is something else; it is a `ValueError`.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            sentence = f"is {shown(n)}; expected a number of turns, 0 or more"
            raise ValidationError([Problem(("n",), "out_of_range", sentence)])
        starts = turn_starts(self.messages, call_ids)
        if n >= max(len(starts), 1):
            return self
        begin = starts[-n] if n else len(self.messages)
        earlier = (message for message in self.messages[:begin] if message.role == "system")
        return attrs.evolve(self, messages=(*earlier, *self.messages[begin:]))


def thread_problems(thread: Thread) -> list[Problem]:
    """The problems of a conversation's messages; only what was added since it was checked is looked at."""
    return [] if _checked(thread) is not None else messages_problems(thread.messages)


def unanswered_in(thread: Thread) -> tuple[str, ...]:
    """`unanswered_tool_calls` of its messages."""
    known = _checked(thread)
    return unanswered_tool_calls(thread.messages) if known is None else known.unanswered


def _checked(thread: Thread) -> _Beginning | None:
    """What is known of the whole conversation; None where something is wrong."""
    known = _beginning_of(thread)
    more: _Beginning | None = known
    if known.length < len(thread.messages) and (more := known.and_more(thread.messages)):
        _put_found(thread, more)
    return more


def _beginning_of(thread: Thread) -> _Beginning:
    found: _Beginning = getattr(thread, "_found", _NOTHING)
    return found
