"""Checks of values before they are sent. All problems are found, none stops the search."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

from allm.data.audio import SpeechRequest, TranscriptionRequest, check_speech_request, check_transcription_request
from allm.data.builders import PART_TYPES
from allm.data.content import ImagePart, ToolCall
from allm.data.embedding import EmbeddingRequest
from allm.data.embedding_check import request_problems
from allm.data.errors import Path, ValidationError
from allm.data.halt import PendingQuestion
from allm.data.image import Image
from allm.data.image_request import ImageRequest, check_image_request
from allm.data.message import Message, Role
from allm.data.moderation import ModerationRequest, moderation_problems
from allm.data.problems import refuse
from allm.data.request import JsonSchema, Request
from allm.data.session import Approval, Session, SessionStatus
from allm.data.thread import Thread
from allm.data.tool import Tool

__all__ = ["RESERVED_TOOL_NAMES", "is_session_id", "unanswered_tool_calls", "validate"]

Problem = tuple[Path, str]

ROLES = frozenset(get_args(Role))
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # the strictest of the three vendors: OpenAI's function name
RESERVED_TOOL_NAMES = frozenset({"auto", "none", "required"})
RESPONSE_FORMAT_WORDS = frozenset({"text", "json"})
MAX_TEMPERATURE = 2
STATUSES = frozenset(get_args(SessionStatus))
MAX_SECONDS = sys.float_info.max
"""An int can be larger, and no clock could count to it."""
MAX_SESSION_ID = 255
"""Characters: any database can index that."""


def validate(value: Any) -> None:
    """Check a `Message`, `Tool`, `Thread` or `Session`, or a request to a model, of any kind.

    Raises:
        ValidationError: With every problem as a `(path, tag)` pair.
        TypeError: A value of another type.
    """
    for cls, check in CHECKS.items():
        if isinstance(value, cls):
            problems = check(value)
            if problems:
                raise ValidationError(problems, reason=f"invalid_{cls.__name__.lower()}")
            return
    for cls, refuse_bad in REQUESTS.items():
        if isinstance(value, cls):
            refuse_bad(value)
            return
    known = ", ".join(cls.__name__ for cls in (*CHECKS, *REQUESTS))
    raise TypeError(f"cannot validate {type(value).__name__}; expected one of: {known}")


def _nested(problems: list[Problem], *path: str | int) -> list[Problem]:
    return [((*path, *inner), tag) for inner, tag in problems]


def _is_one_of(value: Any, words: frozenset[str]) -> bool:
    return isinstance(value, str) and value in words


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_seconds(value: float) -> bool:
    return 0 < value <= MAX_SECONDS or value == float("inf")


def check_message(message: Message) -> list[Problem]:
    """The problems of one message."""
    problems: list[Problem] = []
    if not _is_one_of(message.role, ROLES):
        problems.append((("role",), "unknown"))
    if isinstance(message.content, tuple):
        for index, part in enumerate(message.content):
            problems += _nested(_check_part(part, message.role), "content", index)
    elif not isinstance(message.content, str):
        problems.append((("content",), "invalid_type"))
    if message.role == "tool" and not (isinstance(message.tool_call_id, str) and message.tool_call_id):
        problems.append((("tool_call_id",), "required"))
    return problems


def _check_part(part: Any, role: str) -> list[Problem]:
    if not isinstance(part, PART_TYPES):
        return [((), "invalid_part_type")]
    if isinstance(part, ImagePart):
        if not isinstance(part.image, Image):
            return [(("image",), "invalid_type")]
        if role == "system":
            return [((), "image_in_system_message")]
    if isinstance(part, ToolCall):
        if role != "assistant":
            return [((), "tool_call_outside_assistant_message")]
        if not (isinstance(part.id, str) and part.id):
            return [(("id",), "required")]
    return []


def check_tool(tool: Tool) -> list[Problem]:
    """The problems of one tool."""
    problems: list[Problem] = []
    if not isinstance(tool.name, str):
        problems.append((("name",), "invalid_type"))
    elif not tool.name:
        problems.append((("name",), "empty"))
    elif tool.name in RESERVED_TOOL_NAMES:
        problems.append((("name",), "reserved_tool_name"))
    elif not TOOL_NAME.fullmatch(tool.name):
        problems.append((("name",), "invalid_format"))
    if not isinstance(tool.description, str):
        problems.append((("description",), "not_a_string"))
    problems += _nested(_check_arguments_schema(tool.schema), "schema")
    if not isinstance(tool.manual, bool):
        problems.append((("manual",), "not_a_boolean"))
    if tool.handler is not None and not callable(tool.handler):
        problems.append((("handler",), "not_callable"))
    if tool.timeout is not None and not (_is_number(tool.timeout) and _is_seconds(tool.timeout)):
        problems.append((("timeout",), "must_be_positive"))
    return problems


def _check_arguments_schema(schema: Any) -> list[Problem]:
    if not isinstance(schema, dict):
        return [((), "not_a_mapping")]
    fields = cast("dict[str, Any]", schema)
    if fields.get("type", "object") != "object":
        return [(("type",), "not_an_object")]
    return [] if isinstance(fields.get("properties", {}), Mapping) else [(("properties",), "not_a_mapping")]


def check_thread(thread: Thread) -> list[Problem]:
    """The problems of a conversation's messages."""
    return _check_messages(thread.messages)


def _check_messages(messages: Any) -> list[Problem]:
    if not isinstance(messages, tuple):
        return [(("messages",), "invalid_type")]
    problems: list[Problem] = []
    for index, message in enumerate(messages):
        found: list[Problem] = check_message(message) if isinstance(message, Message) else [((), "invalid_type")]
        problems += _nested(found, "messages", index)
    return problems


def check_request(request: Request) -> list[Problem]:
    """The problems of a request, in the order of its fields."""
    problems: list[Problem] = []
    if request.messages == ():
        problems.append((("messages",), "empty"))
    problems += _check_messages(request.messages)
    if request.model is not None and not (isinstance(request.model, str) and request.model):
        problems.append((("model",), "invalid_type"))
    problems += _check_tools(request.tools)
    if request.tool_choice is not None and not isinstance(request.tool_choice, (str, Mapping)):
        problems.append((("tool_choice",), "invalid_type"))
    temperature = request.temperature
    if temperature is not None and not (_is_number(temperature) and 0 <= temperature <= MAX_TEMPERATURE):
        problems.append((("temperature",), "out_of_range" if _is_number(temperature) else "invalid_type"))
    if request.max_tokens is not None and not (_is_count(request.max_tokens) and request.max_tokens > 0):
        problems.append((("max_tokens",), "must_be_positive"))
    problems += _check_response_format(request)
    return problems


def _check_tools(tools: Any) -> list[Problem]:
    if not isinstance(tools, tuple):
        return [(("tools",), "invalid_type")]
    problems: list[Problem] = []
    for index, tool in enumerate(tools):
        found: list[Problem] = check_tool(tool) if isinstance(tool, Tool) else [((), "invalid_type")]
        problems += _nested(found, "tools", index)
    names = [tool.name for tool in tools if isinstance(tool, Tool) and isinstance(tool.name, str)]
    if len(set(names)) != len(names):
        problems.append((("tools",), "duplicate_name"))
    return problems


def _check_response_format(request: Request) -> list[Problem]:
    problems: list[Problem] = []
    wanted = request.response_format
    if isinstance(wanted, str):
        if wanted not in RESPONSE_FORMAT_WORDS:
            problems.append((("response_format",), "unknown"))
    elif isinstance(wanted, JsonSchema):
        if not isinstance(wanted.schema, dict):
            problems.append((("response_format", "schema"), "not_a_mapping"))
        if not (isinstance(wanted.name, str) and TOOL_NAME.fullmatch(wanted.name)):
            problems.append((("response_format", "name"), "invalid_format"))
    elif wanted is not None and not isinstance(wanted, Mapping):
        problems.append((("response_format",), "invalid_shape"))
    if request.structured_finalize and not isinstance(wanted, JsonSchema):
        problems.append((("structured_finalize",), "requires_json_schema"))
    return problems


def unanswered_tool_calls(messages: tuple[Message, ...]) -> tuple[str, ...]:
    """Ids of tool calls that no later `tool` message answers; providers reject such a conversation with a 400."""
    waiting: dict[str, None] = {}
    for message in messages:
        if message.role == "tool":
            waiting.pop(message.tool_call_id or "", None)
        else:
            waiting.update(dict.fromkeys(call.id for call in message.tool_calls))
    return tuple(waiting)


def check_session(session: Session) -> list[Problem]:
    """The problems of a session: its messages, and whether its fields tell the same story."""
    problems: list[Problem] = []
    if session.id is not None and not is_session_id(session.id):
        problems.append((("id",), "invalid_format"))
    if not isinstance(session.thread, Thread):
        return [*problems, (("thread",), "invalid_type")]
    problems += _nested(check_thread(session.thread), "thread")
    if not _is_one_of(session.status, STATUSES):
        problems.append((("status",), "unknown"))
    listed = {"pending_tool_calls": ToolCall, "pending_questions": PendingQuestion, "approvals": Approval}
    for name, cls in listed.items():
        wrong = [index for index, item in enumerate(getattr(session, name)) if not isinstance(item, cls)]
        problems += [((name, index), "invalid_type") for index in wrong]
    return problems or _contradictions(session)


def _contradictions(session: Session) -> list[Problem]:
    """Where the fields of a session, each valid, do not fit each other."""
    problems: list[Problem] = []
    asked = {call.id: call for message in session.thread.messages for call in message.tool_calls}
    waiting = unanswered_tool_calls(session.thread.messages)
    pending = [call.id for call in session.pending_tool_calls]
    if sorted(pending) != sorted(waiting):
        problems.append((("pending_tool_calls",), "not_the_unanswered_calls"))
    elif any(asked[call.id] != call for call in session.pending_tool_calls):
        problems.append((("pending_tool_calls",), "not_as_asked"))
    if {approval.tool_call_id for approval in session.approvals} - set(pending):
        problems.append((("approvals",), "not_pending"))
    if (session.status == "awaiting_tools") != bool(pending):
        problems.append((("status",), "not_as_pending_tool_calls"))
    if session.pending_questions and session.status not in {"awaiting_user", "awaiting_tools"}:
        problems.append((("status",), "not_as_pending_questions"))
    if session.status == "awaiting_user" and not session.pending_questions:
        problems.append((("pending_questions",), "required"))
    if session.status == "error" and session.error is None:
        problems.append((("error",), "required"))
    if session.resume_at is not None and not (
        _is_count(session.resume_at) and 0 <= session.resume_at <= len(session.thread.messages)
    ):
        problems.append((("resume_at",), "out_of_range"))
    return problems


def is_session_id(value: Any) -> bool:
    """Whether every store can keep a session under this id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SESSION_ID and value.isprintable()


CHECKS: dict[type, Callable[[Any], list[Problem]]] = {
    Message: check_message,
    Tool: check_tool,
    Request: check_request,
    Thread: check_thread,
    Session: check_session,
}
REQUESTS: dict[type, Callable[[Any], None]] = {
    EmbeddingRequest: lambda request: refuse(request_problems(request)),
    ImageRequest: check_image_request,
    ModerationRequest: lambda request: refuse(moderation_problems(request)),
    SpeechRequest: check_speech_request,
    TranscriptionRequest: check_transcription_request,
}
"""What raises as the calls do that take these requests."""
