"""What a conversation can hold that no provider takes, put so that it can be sent.

Conversations come from elsewhere: from another provider, from a model that made up a tool, from a user who wrote while
tools ran. The values stay as they are; only what is sent is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from allm.data.message import Message

__all__ = ["call_name", "results_in_place"]

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
