"""The messages of an AG-UI client, converted to ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from allm.data.content import ImagePart, Part, ReasoningPart, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.json.text import JsonTextError, loads, parse_arguments
from allm.data.message import Message, Role
from allm.data.problems import Problem, shown, wrong_type
from allm.web.opaque import with_opaque

__all__ = ["ag_ui_messages"]


def ag_ui_messages(messages: Any, problems: list[Problem], *, allow_system: bool) -> tuple[Message, ...]:
    """The messages. Adds to the problems. Reasoning, which is a message there, joins the answer after it."""
    if not isinstance(messages, list):
        problems.append(wrong_type(("messages",), messages, "a list of messages"))
        return ()
    drafts: list[tuple[Role, Any, dict[str, Any]]] = []
    waiting: list[Part] = []  # reasoning whose answer comes
    answer, content = "", list[Part]()  # the id of the last answer, and what it has
    for index, message in enumerate(messages):
        found: list[Problem] = []
        role = message.get("role") if isinstance(message, Mapping) else None
        if role == "reasoning" and isinstance(message.get("content"), str):
            part = with_opaque(ReasoningPart(message["content"]), _opaque(message))
            is_of_answer = bool(answer) and str(message.get("id")).startswith(f"{answer}:")  # as we name it
            (content if is_of_answer else waiting).append(part)
        elif role == "assistant":
            answer, content, waiting = str(message.get("id") or ""), [*waiting, *_assistant(message, found)], []
            drafts.append(("assistant", content, {"metadata": _asked(message)}))
        elif role == "user" or (role in {"system", "developer"} and allow_system):
            if waiting:  # an answer that has nothing else
                drafts.append(("assistant", waiting, {}))
                waiting = []
            whose: Role = "user" if role == "user" else "system"
            drafts.append((whose, _content(message.get("content"), found), {}))
        elif role == "tool":
            drafts.append(("tool", *_result(message, found)))
        elif role != "activity":  # which is for the page
            found.append(_wrong_role(role))
        problems += [problem.under("messages", index) for problem in found]
    drafts.append(("assistant", waiting, {}))
    found_messages = (Message(whose, held, **more) for whose, held, more in drafts if held or whose != "assistant")
    return tuple(_in_call_order(found_messages))


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


def _wrong_role(role: Any) -> Problem:
    if role in {"system", "developer"}:
        sentence = (
            f"is {role!r}, which a visitor could write; give the system prompt on the server, or allow_system=True"
        )
        return Problem(("role",), "not_allowed", sentence)
    return Problem(("role",), "unknown", f"is {shown(role)}; expected user, assistant, tool, reasoning or activity")


def _asked(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a question of ours has beside its text."""
    metadata = message.get("metadata")
    asked = metadata.get("askUser") if isinstance(metadata, Mapping) else None
    return {"ask_user": True, "tool_call_id": asked} if isinstance(asked, str) else {}


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
        source = part.get("source") if kind == "image" else None
        value = source.get("value") if isinstance(source, Mapping) else None
        if isinstance(source, Mapping) and isinstance(value, str) and source.get("type") in {"data", "url"}:
            try:
                parts.append(ImagePart(_image(source, value)))
            except ValidationError as error:
                problems += [problem.under("content", index) for problem in error.problems]
            continue
        sentence = f"is of type {shown(kind)}; expected a text, or an image of type data or url"
        problems.append(Problem(("content", index), "unsupported_part", sentence))
    return parts


def _image(source: Mapping[str, Any], value: str) -> Image:
    mime_type = source.get("mimeType")
    known = mime_type if isinstance(mime_type, str) else None
    return Image.from_base64(value, known) if source.get("type") == "data" else Image.from_url(value, known)


def _opaque(holder: Mapping[str, Any]) -> Any:
    """What `REASONING_ENCRYPTED_VALUE` has brought there."""
    value = holder.get("encryptedValue")
    if not isinstance(value, str):
        return {}
    try:
        return loads(value)
    except JsonTextError:  # of another server
        return {}
