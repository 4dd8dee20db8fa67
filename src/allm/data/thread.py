"""A conversation as a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from allm.data.attrs_fields import mapping_field, tuple_of
from allm.data.message import Message, messages_problems
from allm.data.problems import Problem

__all__ = ["Thread", "thread_problems"]


def _messages(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple_of("messages", value)


@attrs.frozen
class Thread:
    """Messages in order. Adding gives a new thread; the old one stays as it was."""

    messages: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
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
