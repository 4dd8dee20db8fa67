"""The messages of an AG-UI client, converted to ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from allm.data.content import Part, ReasoningPart, TextPart, ToolCall
from allm.data.json.text import JsonTextError, loads, parse_arguments
from allm.data.message import Message, Role
from allm.data.problems import Problem, shown, wrong_type
from allm.web.files import KINDS, read_file
from allm.web.opaque import with_opaque

__all__ = ["ag_ui_messages"]

_Draft = tuple[Role, Any, dict[str, Any]]
"""A message that may still grow: whose it is, its content, and the rest."""


def ag_ui_messages(messages: Any, problems: list[Problem], *, allow_system: bool) -> tuple[Message, ...]:
    """The messages. Adds to the problems. Reasoning, which is a message there, joins the answer after it."""
    if not isinstance(messages, list):
        problems.append(wrong_type(("messages",), messages, "a list of messages"))
        return ()
    drafts: list[_Draft] = []
    answers: dict[str, list[Part]] = {}  # what each answer has, by its id; reasoning may come before it and after it
    waiting: list[Part] = []  # reasoning of another server, whose answer comes

    def answer_of(answer: str, metadata: dict[str, Any]) -> list[Part]:
        if answer not in answers:
            answers[answer] = []
            drafts.append(("assistant", answers[answer], {"metadata": metadata}))
        return answers[answer]

    for index, message in enumerate(messages):
        found: list[Problem] = []
        role = _role(message)
        if role == "reasoning" and isinstance(message.get("content"), str):
            answer = _metadata(message, "answer")
            content = waiting if answer is None else answer_of(answer, {})
            content.append(with_opaque(ReasoningPart(message["content"]), _opaque(message)))
        elif role == "assistant":
            content = answer_of(str(message.get("id")), _asked(message))
            content += [*waiting, *_assistant(message, found)]
            waiting = []
        elif role == "user" or (role in {"system", "developer"} and allow_system):
            waiting = _ended(waiting, drafts)
            whose: Role = "user" if role == "user" else "system"
            drafts.append((whose, _content(message.get("content"), found), {}))
        elif role == "tool":
            drafts.append(("tool", *_result(message, found)))
        elif role != "activity":  # which is for the page
            found.append(_wrong_role(role))
        problems += [problem.under("messages", index) for problem in found]
    _ended(waiting, drafts)
    read = (Message(whose, held, **more) for whose, held, more in drafts if held or whose != "assistant")
    return tuple(_in_call_order(read))


def _ended(waiting: list[Part], drafts: list[_Draft]) -> list[Part]:
    """Reasoning that no answer has followed is one by itself; gives the list for the next."""
    drafts.append(("assistant", waiting, {}))
    return []


def _in_call_order(messages: Iterable[Message]) -> Iterator[Message]:
    """The results behind an answer come in the order in which they arrived; here, in that of its calls."""
    results: list[Message] = []
    places: dict[str, int] = {}
    for message in messages:
        if message.role == "tool":
            results.append(message)
            continue
        yield from sorted(results, key=lambda result: places.get(result.tool_call_id or "", len(places)))
        results.clear()
        places = {call.id: place for place, call in enumerate(message.tool_calls)}
        yield message
    yield from sorted(results, key=lambda result: places.get(result.tool_call_id or "", len(places)))


def _role(message: Any) -> str | None:
    role = message.get("role") if isinstance(message, Mapping) else None
    return role if isinstance(role, str) else None


def _wrong_role(role: Any) -> Problem:
    if role in {"system", "developer"}:
        sentence = (
            f"is {role!r}, which a visitor could write; give the system prompt on the server, or allow_system=True"
        )
        return Problem(("role",), "not_allowed", sentence)
    return Problem(("role",), "unknown", f"is {shown(role)}; expected user, assistant, tool, reasoning or activity")


def _asked(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a question of ours has beside its text."""
    asked = _metadata(message, "askUser")
    return {} if asked is None else {"ask_user": True, "tool_call_id": asked}


def _metadata(message: Mapping[str, Any], name: str) -> str | None:
    metadata = message.get("metadata")
    value = metadata.get(name) if isinstance(metadata, Mapping) else None
    return value if isinstance(value, str) else None


def _assistant(message: Mapping[str, Any], problems: list[Problem]) -> list[Part]:
    content: list[Part] = []
    text = message.get("content")
    if isinstance(text, str) and text:
        content.append(with_opaque(TextPart(text), _opaque(message)))
    elif text is not None and not isinstance(text, str):
        problems.append(wrong_type(("content",), text, "a text"))
    calls = message.get("toolCalls")
    for index, call in enumerate(calls if isinstance(calls, list) else []):
        function = call.get("function") if isinstance(call, Mapping) else None
        call_id, name = (call.get("id"), function.get("name")) if isinstance(function, Mapping) else (None, None)
        raw = function.get("arguments") if isinstance(function, Mapping) else None
        if not (isinstance(call_id, str) and isinstance(name, str) and isinstance(raw, str)):
            sentence = "is no call; expected an id, and a function with a name and arguments"
            problems.append(Problem(("toolCalls", index), "unsupported_tool_call", sentence))
            continue
        content.append(with_opaque(ToolCall(call_id, name, parse_arguments(raw), raw), _opaque(call)))
    return content


def _result(message: Mapping[str, Any], problems: list[Problem]) -> tuple[Any, dict[str, Any]]:
    metadata = message.get("metadata")
    is_error = isinstance(metadata, Mapping) and metadata.get("isError") is True
    call_id = message.get("toolCallId")
    if not isinstance(call_id, str):
        problems.append(wrong_type(("toolCallId",), call_id, "a text"))
    content = _content(message.get("content"), problems)
    error = message.get("error")
    if isinstance(error, str) and error:
        is_error, content = True, content or error
    return content, {"tool_call_id": str(call_id), "is_error": is_error}


def _content(content: Any, problems: list[Problem]) -> Any:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        problems.append(wrong_type(("content",), content, "a text, or a list of parts"))
        return ""
    parts: list[Part] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(TextPart(part["text"]))
            continue
        media = KINDS.get(kind) if isinstance(kind, str) else None
        source = part.get("source") if media is not None else None
        how, value = (source.get("type"), source.get("value")) if isinstance(source, Mapping) else (None, None)
        if media is not None and isinstance(source, Mapping) and isinstance(value, str) and how in ("data", "url"):
            found: list[Problem] = []
            parts += read_file(media, value, source.get("mimeType"), found, is_url=how == "url")
            problems += [problem.under("content", index) for problem in found]
            continue
        sentence = f"is of type {shown(kind)}; expected a text, or {', '.join(KINDS)} with a source of type data or url"
        problems.append(Problem(("content", index), "unsupported_part", sentence))
    return parts


def _opaque(holder: Mapping[str, Any]) -> Any:
    """What `REASONING_ENCRYPTED_VALUE` has brought there."""
    value = holder.get("encryptedValue")
    if not isinstance(value, str):
        return {}
    try:
        return loads(value)
    except JsonTextError:  # of another server
        return {}
