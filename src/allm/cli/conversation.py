"""Changes of a conversation that a chat makes beside adding what is said."""

from __future__ import annotations

import allm
from allm.data.validate import unanswered_tool_calls

__all__ = ["waiting_call", "with_result", "with_system"]


def waiting_call(thread: allm.Thread) -> allm.ToolCall | None:
    """The first tool call that has no result, or None."""
    waiting = unanswered_tool_calls(thread.messages)
    calls = [call for message in thread.messages for call in message.tool_calls if call.id in waiting[:1]]
    return calls[-1] if calls else None


def with_result(thread: allm.Thread, call: allm.ToolCall, text: str) -> allm.Thread:
    """The thread with the result of a waiting call, where providers want it.

    That is right behind the answer that made the call, among the results of its other calls and in the calls' order,
    also if a question to the user has been added since.
    """
    messages = thread.messages
    asked = max(index for index, message in enumerate(messages) if call.id in _ids(message))
    end = asked + 1
    while end < len(messages) and messages[end].role == "tool":
        end += 1
    order = _ids(messages[asked])
    result = allm.tool_result(call.id, text)
    results = sorted([*messages[asked + 1 : end], result], key=lambda message: order.index(message.tool_call_id or ""))
    return allm.Thread([*messages[: asked + 1], *results, *messages[end:]], metadata=thread.metadata)


def with_system(thread: allm.Thread, text: str | None) -> allm.Thread:
    """The thread with these instructions in place of its own, if there are any."""
    if text is None:
        return thread
    others = [message for message in thread.messages if message.role != "system"]
    return allm.Thread([allm.system(text), *others], metadata=thread.metadata)


def _ids(message: allm.Message) -> list[str]:
    return [call.id for call in message.tool_calls]
