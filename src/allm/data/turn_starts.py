"""Where the turns of a conversation begin, so that its newest ones can be kept whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["turn_starts"]


class _Message(Protocol):
    """What is asked of a message, which has to do with turns itself."""

    @property
    def role(self) -> str: ...
    @property
    def tool_call_id(self) -> str | None: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def hosted_calls(self) -> Sequence[Any]: ...


def turn_starts(messages: Sequence[_Message], call_ids: Callable[[Any], Iterable[str]]) -> list[int]:
    """Indexes of the messages that begin a turn, as `Thread.last_turns` defines it."""
    starts: list[int] = []
    owed: Counter[str] = Counter()  # results, by id, whose calls are further ahead
    all_owed = 0
    follower = None  # index of a user's message that begins a turn if the one before it allows it
    for index in reversed(range(len(messages))):
        message = messages[index]
        if message.role == "system":
            continue
        if follower is not None and message.role != "user" and not message.metadata.get("ask_user"):
            starts.append(follower)
        follower = None
        if message.role == "tool":
            owed[message.tool_call_id or ""] += 1
            all_owed += 1
        elif message.role == "assistant":
            for call_id in filter(owed.__getitem__, call_ids(message)):
                owed[call_id] -= 1
                all_owed -= 1
        elif not all_owed and not message.hosted_calls:  # answers to such calls belong to the turn of the calls
            follower = index
    if follower is not None:
        starts.append(follower)
    return starts[::-1]
