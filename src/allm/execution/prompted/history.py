"""A conversation as a model reads it that has no tools of its own: calls and their results as text.

The conversation itself is not changed: it has calls and results whoever made them, so that it can go on with any model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from allm.data.content import Part, ReasoningPart, TextPart, ToolCall
from allm.data.json.text import JsonTextError, dumps, loads
from allm.data.message import Message
from allm.data.request import results_in_place
from allm.execution.prompted.reply import ANSWER, ARGUMENTS, CALLS, TOOL

__all__ = ["told_messages"]


def told_messages(
    messages: Iterable[Message], *, as_replies: bool, is_json: bool = False, reminder: str = ""
) -> tuple[Message, ...]:
    """The messages with text in place of calls and results.

    Args:
        messages: The conversation.
        as_replies: What the model answered goes back in the form in which it has to reply.
        is_json: An answer in it is JSON.
        reminder: What is said behind results.
    """
    told: list[Message] = []
    calls: dict[str, str] = {}  # what the result of each is called
    results: list[Part] = []
    for _, message in results_in_place(messages):
        if message.role == "tool":
            results += _result(message, calls, is_first=not results)
            continue
        if results:
            told.append(_of_results(results, reminder))
            results = []
        if message.role == "assistant":
            calls |= _titles(message.tool_calls)
            message = _replied(message, as_replies=as_replies, is_json=is_json)
        told.append(message)
    if results:
        told.append(_of_results(results, reminder))
    return tuple(told)


# --- results ----------------------------------------------------------------------------------------------------------


def _titles(calls: Iterable[ToolCall]) -> dict[str, str]:
    """What the result of each call is called: by the name of its tool, and its arguments where there are several."""
    calls = tuple(calls)
    names = [call.name for call in calls]
    return {call.id: call.name if names.count(call.name) == 1 else f"{call.name} {_arguments(call)}" for call in calls}


def _result(message: Message, titles: dict[str, str], *, is_first: bool) -> Iterator[Part]:
    title = titles.get(message.tool_call_id or "") or message.name or "the tool"
    yield TextPart(f"{'' if is_first else _APART}{'Error' if message.is_error else 'Result'} of {title}: ")
    yield from message.parts


_APART = "\n\n"


def _of_results(parts: list[Part], reminder: str) -> Message:
    """One message: many models are used to the user and the assistant taking turns."""
    if reminder:
        parts = [*parts, TextPart(f"{_APART}{reminder}")]
    if all(isinstance(part, TextPart) for part in parts):
        return Message("user", "".join(part.text for part in parts if isinstance(part, TextPart)))
    return Message("user", tuple(_joined(parts)), metadata={"tool_results": True})  # for `refused_files`


def _joined(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts, with neighbouring texts as one."""
    text = ""
    for part in parts:
        if isinstance(part, TextPart):
            text += part.text
            continue
        if text:
            yield TextPart(text)
            text = ""
        yield part
    if text:
        yield TextPart(text)


# --- what the model said ----------------------------------------------------------------------------------------------


def _replied(message: Message, *, as_replies: bool, is_json: bool) -> Message:
    calls = message.tool_calls
    if not calls and not (as_replies and message.text):
        return message
    # Reasoning is signed for the calls that it led to, as they were.
    kept = [
        p
        for p in message.parts
        if not isinstance(p, TextPart | ToolCall) and not (calls and isinstance(p, ReasoningPart))
    ]
    said = message.text
    if as_replies and not calls:
        said = f'{{"{ANSWER}":{_answer(said, is_json=is_json)}}}'
    written = [_call(call) for call in calls]
    if len(written) > 1:
        written = [f'{{"{CALLS}":[{",".join(written)}]}}']
    text = "\n".join(filter(None, [said, *written]))
    return attrs.evolve(message, content=(*kept, TextPart(text)) if kept else text)


def _answer(text: str, *, is_json: bool) -> str:
    if is_json:
        try:
            loads(text)
        except JsonTextError:
            pass
        else:
            return text
    return dumps(text).decode()


def _call(call: ToolCall) -> str:
    return f'{{"{TOOL}":{dumps(call.name).decode()},"{ARGUMENTS}":{_arguments(call)}}}'


def _arguments(call: ToolCall) -> str:
    """As the model wrote them where they were wrong, so that it sees what the error is about."""
    if call.arguments is None:
        return call.raw_arguments or "null"
    return dumps(dict(call.arguments)).decode()
