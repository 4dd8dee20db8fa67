"""What a client sends, as our own values: the conversation of `useChat`, the run of an AG-UI client.

A visitor can write anything into it. So nothing in it names a file, only shapes that are known are read, and a system
prompt is refused unless the caller wants those of the page; whoever must trust an earlier answer keeps the conversation
in a session, and takes the newest message only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import ValidationError
from allm.data.json.text import JsonTextError, loads
from allm.data.message import Thread
from allm.data.problems import Problem, refuse, wrong_type
from allm.data.tool import Tool
from allm.web.ag_ui_messages import ag_ui_messages
from allm.web.ui_messages import ui_messages

__all__ = ["AgUiRun", "UiChat", "read_ag_ui", "read_ui"]


@frozen(kw_only=True)
class UiChat:
    """What the AI SDK's `useChat` sends.

    Attributes:
        id: The id of the chat.
        trigger: `submit-message` or `regenerate-message`.
        message_id: The message that is regenerated, if any.
        thread: The conversation. A call that waits for an approval or a result has none yet.
        approvals: Whether the user has approved each call that was asked for, by its id. One that was not has the
            denial as its result.
        body: Everything that the page has sent, with what it has added.
    """

    id: str
    trigger: str
    message_id: str | None
    thread: Thread
    approvals: dict[str, bool] = attrs.field(hash=False)
    body: dict[str, Any] = attrs.field(hash=False, repr=False)


@frozen(kw_only=True)
class AgUiRun:
    """What an AG-UI client sends (`RunAgentInput`).

    Attributes:
        thread_id, run_id: Its names for the conversation and for the run.
        thread: The conversation.
        tools: The tools that the client runs itself: manual tools, for `tools=` of the call.
        context: Facts that the application offers, each with `description` and `value`.
        state: The shared state.
        resume: Answers to the interrupts of the run before, by their ids, which are those of the calls: the payload, or
            None where the user has cancelled.
        forwarded: Further data of the application.
    """

    thread_id: str
    run_id: str
    thread: Thread
    tools: tuple[Tool, ...] = ()
    context: tuple[dict[str, Any], ...] = attrs.field(default=(), hash=False)
    state: Any = attrs.field(default=None, hash=False)
    resume: dict[str, Any] = attrs.field(factory=dict, hash=False)
    forwarded: Any = attrs.field(default=None, hash=False)


def read_ui(body: str | bytes | Mapping[str, Any], *, allow_system: bool = False) -> UiChat:
    """Read the request of the AI SDK's `useChat`.

    Args:
        body: The body, or what JSON it holds.
        allow_system: Take system messages of the page, in which a visitor can write anything.

    Raises:
        ValidationError: It is no such request; with every problem and its path. Answer with the status 400.
    """
    data = _object(body)
    problems: list[Problem] = []
    messages, approvals = ui_messages(data.get("messages"), problems, allow_system=allow_system)
    message_id = data.get("messageId")
    refuse(problems, reason="invalid_messages")
    return UiChat(
        id=_text(data, "id"),
        trigger=_text(data, "trigger"),
        message_id=message_id if isinstance(message_id, str) else None,
        thread=Thread(messages),
        approvals=approvals,
        body=data,
    )


def read_ag_ui(body: str | bytes | Mapping[str, Any], *, allow_system: bool = False) -> AgUiRun:
    """Read the `RunAgentInput` of an AG-UI client.

    Args:
        body: The body, or what JSON it holds.
        allow_system: Take system and developer messages of the client, in which a visitor can write anything.

    Raises:
        ValidationError: It is no such request; with every problem and its path. Answer with the status 400.
    """
    data = _object(body)
    names = [name for name in ("threadId", "runId") if not isinstance(data.get(name), str)]
    problems = [wrong_type((name,), data.get(name), "a text") for name in names]
    messages = ag_ui_messages(data.get("messages"), problems, allow_system=allow_system)
    tools = [_tool(tool, index, problems) for index, tool in enumerate(_list(data, "tools", problems))]
    context = tuple(item for item in _list(data, "context", problems) if isinstance(item, dict))
    resume = {
        str(entry.get("interruptId")): entry.get("payload") if entry.get("status") == "resolved" else None
        for entry in _list(data, "resume", problems)
        if isinstance(entry, dict)
    }
    refuse(problems, reason="invalid_messages")
    return AgUiRun(
        thread_id=data["threadId"],
        run_id=data["runId"],
        thread=Thread(messages),
        tools=tuple(tool for tool in tools if tool is not None),
        context=context,
        state=data.get("state"),
        resume=resume,
        forwarded=data.get("forwardedProps"),
    )


def _object(body: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    data: Any = body
    if isinstance(body, (str, bytes)):
        try:
            data = loads(body)
        except JsonTextError as error:
            problem = Problem(("body",), "not_json", f"is not JSON: {error}; expected the body of the request")
            raise ValidationError([problem], reason="invalid_json") from error
    if not isinstance(data, Mapping):
        raise ValidationError([wrong_type(("body",), data, "a JSON object")], reason="invalid_json")
    return dict(data)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _list(data: Mapping[str, Any], name: str, problems: list[Problem]) -> list[Any]:
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        problems.append(wrong_type((name,), value, "a list"))
        return []
    return value


def _tool(tool: Any, index: int, problems: list[Problem]) -> Tool | None:
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(name, str):
        problems.append(wrong_type(("tools", index, "name"), name, "a text"))
        return None
    schema = tool.get("parameters")
    description = tool.get("description")
    return Tool(
        name,
        description if isinstance(description, str) else "",
        schema if isinstance(schema, dict) and schema else {"type": "object", "properties": {}},
        manual=True,
    )
