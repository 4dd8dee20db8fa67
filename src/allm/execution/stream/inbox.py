"""Messages that the user sends into a running turn, and where they go in its conversation."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import Problem, StreamError, ValidationError
from allm.data.message import Message, Thread, thread_problems, unanswered_tool_calls, user
from allm.data.problems import refuse
from allm.data.results import HaltCause, UserAsked

__all__ = ["Inbox", "with_messages"]


@define(eq=False)
class Inbox:
    """The messages of one turn. Both of its folds look into it, so that a turn that is cut short loses none.

    Attributes:
        sent: All that were accepted, in order.
        waiting: Those that have not joined a step yet.
        closed: The turn has ended, and takes no more.
    """

    sent: list[Message] = attrs.field(factory=list[Message], init=False)
    waiting: list[Message] = attrs.field(factory=list[Message], init=False)
    closed: bool = attrs.field(default=False, init=False)

    def add(self, content: str | Message) -> None:
        """Accept a message.

        Raises:
            StreamError: `closed`.
            ValidationError: It is no message of the user.
        """
        if self.closed:
            raise StreamError(
                "the turn has ended, so no message can join it: send this one with the next turn", reason="closed"
            )
        if isinstance(content, Message) and content.role == "user":
            message = attrs.evolve(content)  # a new object, since the folds tell messages apart by identity
        elif isinstance(content, str):
            message = user(content)
        else:
            got = f"a message of role {content.role!r}" if isinstance(content, Message) else type(content).__name__
            problem = Problem((), "invalid_type", f"send_user takes a text or a message of the user, got {got}")
            raise ValidationError([problem], reason="invalid_message")
        refuse(thread_problems(Thread((message,))), reason="invalid_message")
        self.sent.append(message)
        self.waiting.append(message)

    def joined(self, messages: Iterable[Message]) -> None:
        """Take note of messages that have joined a step."""
        gone = {id(message) for message in messages}
        self.waiting[:] = [message for message in self.waiting if id(message) not in gone]

    def missing(self, joined: set[int]) -> list[Message]:
        """The accepted messages whose `id()` is not in `joined`."""
        return [message for message in self.sent if id(message) not in joined]


def with_messages(thread: Thread, messages: Iterable[Message], halt: HaltCause | None = None) -> Thread:
    """The conversation of a turn that has ended, with messages that joined none of its steps.

    They go to its end; but before a question that the turn ends with, and never between a call and its result: if calls
    are left to the caller, they go before the response that asks for them.
    """
    kept = thread.messages
    waiting = set(unanswered_tool_calls(kept))
    place = len(kept) - isinstance(halt, UserAsked)
    if waiting:
        place = next(i for i, message in enumerate(kept) if any(call.id in waiting for call in message.tool_calls))
    return attrs.evolve(thread, messages=(*kept[:place], *messages, *kept[place:]))
