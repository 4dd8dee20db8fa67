"""The messages of the AI SDK's `useChat`, converted to ours.

One of its assistant messages is a whole turn: `step-start` begins each model call, and a call holds its own result. So
each step becomes an assistant message, and behind it the results of its calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.content import Part, ReasoningPart, TextPart, ToolCall
from allm.data.document import Document
from allm.data.message import Message
from allm.data.problems import Problem, shown, wrong_type
from allm.data.tool_control import error_message
from allm.data.types.encode import encode_result
from allm.web.files import KINDS, read_file
from allm.web.opaque import with_opaque
from allm.web.shown import NOT_ENDED

__all__ = ["ui_messages"]

_DENIED = "the user did not allow this call"


def ui_messages(
    messages: Any, problems: list[Problem], *, allow_system: bool
) -> tuple[tuple[Message, ...], dict[str, bool]]:
    """The messages, and whether each call that waited for it was approved. Adds to the problems."""
    if not isinstance(messages, list):
        problems.append(wrong_type(("messages",), messages, "a list of messages with role and parts"))
        return (), {}
    converted: list[Message] = []
    approvals: dict[str, bool] = {}
    for index, message in enumerate(messages):
        found: list[Problem] = []
        role = message.get("role") if isinstance(message, Mapping) else None
        parts = message.get("parts") if isinstance(message, Mapping) else None
        if not isinstance(parts, list):
            found.append(wrong_type(("parts",), parts, "a list of parts"))
        elif role == "assistant":
            turn = _Turn(found, approvals, is_last=index == len(messages) - 1)
            turn.read(parts)
            converted += turn.messages
        elif role == "user" or (role == "system" and allow_system):
            content = _user_parts(parts, found)
            if content:
                converted.append(Message(role, content[0].text if _is_plain(content) else content))
        else:
            found.append(_wrong_role(role))
        problems += [problem.under("messages", index) for problem in found]
    return tuple(converted), approvals


def _is_plain(content: list[Any]) -> bool:
    return len(content) == 1 and isinstance(content[0], TextPart)


def _wrong_role(role: Any) -> Problem:
    if role == "system":
        sentence = (
            "is 'system', which a visitor could write; give the system prompt on the server, or allow_system=True"
        )
        return Problem(("role",), "not_allowed", sentence)
    return Problem(("role",), "unknown", f"is {shown(role)}; expected 'user' or 'assistant'")


def _user_parts(parts: list[Any], problems: list[Problem]) -> list[Any]:
    content: list[Part] = []
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            if part["text"]:
                content.append(TextPart(part["text"]))
        elif kind == "file":
            content += _file(part, index, problems)
        elif not _is_silent(kind):
            problems.append(Problem(("parts", index), "unsupported_part", f"is of type {shown(kind)}; expected a text"))
    return content


def _is_silent(kind: Any) -> bool:
    """Whether a part is for the page only."""
    return isinstance(kind, str) and (kind.startswith(("data-", "source-")) or kind == "step-start")


def _file(part: Mapping[str, Any], index: int, problems: list[Problem]) -> list[Part]:
    url, media_type = part.get("url"), part.get("mediaType")
    if not (isinstance(url, str) and url and isinstance(media_type, str) and media_type):
        sentence = f"is a file of type {shown(media_type)} at {shown(url)}; expected its mediaType and its url"
        problems.append(Problem(("parts", index), "unsupported_part", sentence))
        return []
    kind = KINDS.get(media_type.partition("/")[0].lower(), Document)
    found: list[Problem] = []
    parts = read_file(kind, url, media_type, found, name=part.get("filename"))
    problems += [problem.under("parts", index) for problem in found]
    return [*parts]


@define(eq=False)
class _Turn:
    """Reads the parts of one assistant message."""

    problems: list[Problem]
    approvals: dict[str, bool]
    is_last: bool = attrs.field(kw_only=True)
    messages: list[Message] = attrs.field(factory=list[Message], init=False)
    _content: list[Part] = attrs.field(factory=list, init=False)
    _results: list[Message] = attrs.field(factory=list[Message], init=False)

    def read(self, parts: list[Any]) -> None:
        for index, part in enumerate(parts):
            kind = part.get("type") if isinstance(part, Mapping) else None
            if not isinstance(kind, str):
                self.problems.append(wrong_type(("parts", index, "type"), kind, "a text"))
            elif kind == "step-start":
                self._end_step()
            elif kind in {"text", "reasoning"} and isinstance(part.get("text"), str):
                self._read_text(kind, part)
            elif kind == "file":
                self._content += _file(part, index, self.problems)
            elif kind == "dynamic-tool" or kind.startswith("tool-"):
                self._read_call(kind, part, index)
            elif kind == "steering-message":
                self._end_step()
                said, found = part.get("parts"), list[Problem]()
                content = _user_parts(said if isinstance(said, list) else [], found)
                self.problems += [problem.under("parts", index) for problem in found]
                if content:
                    self.messages.append(Message("user", content))
            elif not _is_silent(kind) and kind not in {"custom", "reasoning-file"}:
                self.problems.append(Problem(("parts", index), "unsupported_part", f"is of type {shown(kind)}"))
        self._end_step()

    def _end_step(self) -> None:
        if self._content:
            self.messages += [Message("assistant", self._content), *self._results]
            self._content, self._results = [], []

    def _read_text(self, kind: str, part: Mapping[str, Any]) -> None:
        opaque = _ours(part, "providerMetadata")
        asked = opaque.get("ask_user")
        if isinstance(asked, str):  # a question of ours, which follows the result of the call that asks
            self._end_step()
            metadata = {"ask_user": True, "tool_call_id": asked}
            self.messages.append(Message("assistant", part["text"], metadata=metadata))
        elif kind == "reasoning":
            self._content.append(with_opaque(ReasoningPart(part["text"]), opaque))
        elif part["text"]:
            self._content.append(with_opaque(TextPart(part["text"]), opaque))

    def _read_call(self, kind: str, part: Mapping[str, Any], index: int) -> None:
        call_id, state, given = part.get("toolCallId"), part.get("state"), part.get("input")
        name = part.get("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
        if not (isinstance(call_id, str) and isinstance(name, str) and isinstance(state, str)):
            sentence = "is no call; expected toolCallId and state, and toolName for a dynamic-tool"
            self.problems.append(Problem(("parts", index), "unsupported_tool_call", sentence))
            return
        if isinstance(given, dict):
            call = ToolCall(call_id, name, given)
        else:
            raw = given if isinstance(given, str) else part.get("rawInput")
            call = ToolCall(call_id, name, None, raw if isinstance(raw, str) else "")
        call = with_opaque(call, _ours(part, "callProviderMetadata"))
        self._content.append(call)
        try:
            result = self._result(call, state, part)
        except ValueError as error:  # a dictionary may hold what JSON cannot
            self.problems.append(Problem(("parts", index, "output"), "not_json", f"is no JSON: {error}"))
            return
        if result is not None:
            self._results.append(result)

    def _result(self, call: ToolCall, state: str, part: Mapping[str, Any]) -> Message | None:
        """The result of a call; None if it has none yet, and may still get one."""
        if state == "output-available" and part.get("preliminary") is not True:
            return Message("tool", _output(part.get("output")), tool_call_id=call.id, name=call.name)
        if state == "output-error":
            return error_message(call, "failed", str(part.get("errorText") or "the tool failed"))
        approval = part.get("approval")
        approval = approval if isinstance(approval, Mapping) else {}
        if state in {"approval-responded", "output-denied"}:
            approved = approval.get("approved") is True and state != "output-denied"
            if state == "approval-responded":
                self.approvals[call.id] = approved
            if not approved:
                return error_message(call, "denied", str(approval.get("reason") or _DENIED))
        if self.is_last and state not in {"input-streaming", "output-available"}:
            return None
        return error_message(call, "cancelled", NOT_ENDED)


def _ours(part: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    metadata = part.get(name)
    ours = metadata.get("allm") if isinstance(metadata, Mapping) else None
    return ours if isinstance(ours, Mapping) else {}


def _output(output: Any) -> Any:
    """The content of a result; a list with files is read as such."""
    if isinstance(output, list) and any(_is_file(item) for item in output):
        problems: list[Problem] = []
        parts: list[Part] = []
        for index, item in enumerate(output):
            if _is_file(item):
                parts += _file(item, index, problems)
            elif isinstance(item, Mapping) and isinstance(item.get("text"), str):
                parts.append(TextPart(item["text"]))
        if not problems:
            return parts
    return encode_result(output)


def _is_file(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("type") == "file"
