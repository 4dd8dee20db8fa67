"""Blocks of Anthropic's own tools: what the model asked for, and what came of it, each in its place.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools. A call is a block `server_tool_use` or
`mcp_tool_use`, whose input streams as that of any call; its result is a block `..._tool_result`, whole with its start,
in the same message or, where the turn was paused, in the next one. Both go back as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import UniqueIds, as_objects, as_text
from allm.data.content import HostedCall, HostedStatus
from allm.data.events import AdapterEvent, HostedCallCompleted, HostedCallStarted
from allm.providers.anthropic.names import PROVIDER

__all__ = ["CALLS", "RESULT", "HostedBlocks"]

CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
"""Types of blocks that are calls."""
RESULT = "_tool_result"
"""What the type of a block ends with that is the result of one."""
_KINDS = {"bash_code_execution": "code_execution", "text_editor_code_execution": "code_execution"}
_SHOWN = ("url", "title", "page_age", "retrieved_at")


@attrs.define(eq=False)
class HostedBlocks:
    """The calls of one answer: the id of each, which its result refers to."""

    _ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)
    _begun: dict[str, HostedCall] = attrs.field(factory=dict[str, HostedCall], init=False)  # by the vendor's id

    def events(self, data: dict[str, Any]) -> list[AdapterEvent]:
        """The events of a block that is complete."""
        kind = str(data.get("type"))
        if kind in CALLS:
            return [self._call(data)]
        called = as_text(data.get("tool_use_id")) or ""
        begun, events = self._begun.pop(called, None), list[AdapterEvent]()
        if begun is None:  # the call is in an earlier message
            begun = HostedCall(self._ids.new(called, "srvtoolu"), _kind(kind.removesuffix(RESULT)), "in_progress")
            events.append(HostedCallStarted(begun.id, begun))
        status, output = _outcome(data)
        done = HostedCall(begun.id, begun.kind, status, None, output, data, provider=PROVIDER)
        return [*events, HostedCallCompleted(begun.id, done)]

    def _call(self, data: dict[str, Any]) -> AdapterEvent:
        sent, name, asked = as_text(data.get("id")), as_text(data.get("name")) or "", data.get("input")
        given = asked if isinstance(asked, dict) else {}
        kind = _kind(name)
        if data.get("type") == "mcp_tool_use":
            kind, given = "mcp", {"server": data.get("server_name"), "name": name, "arguments": given}
        call = HostedCall(self._ids.new(sent, "srvtoolu"), kind, "in_progress", given, data=data, provider=PROVIDER)
        self._begun[sent or ""] = call
        return HostedCallStarted(call.id, call)


def _kind(name: str) -> str:
    return "tool_search" if name.startswith("tool_search") else _KINDS.get(name, name) or "unknown"


def _outcome(data: Mapping[str, Any]) -> tuple[HostedStatus, Any]:
    """How a call ended, and what it gave, without what only Anthropic reads."""
    content = data.get("content")
    if data.get("is_error") is True:
        return "failed", {"content": content}
    if isinstance(content, list):
        found = as_objects(content)
        if data.get("type") == "web_search_tool_result":
            return "completed", {"sources": [_shown(item) for item in found]}
        return "completed", {"content": content}
    if not isinstance(content, dict):
        return "completed", content
    result: dict[str, Any] = content
    code = result.get("error_code")
    if code is not None:
        return "failed", {"error": code}
    if "tool_references" in result:
        return "completed", {"tools": [item.get("tool_name") for item in as_objects(result["tool_references"])]}
    if "retrieved_at" in result or result.get("type") == "web_fetch_result":
        return "completed", {"sources": [_shown(result)]}
    files = [file_id for item in as_objects(result.get("content")) if (file_id := as_text(item.get("file_id")))]
    kept = {name: value for name, value in result.items() if name not in {"type", "content"}}
    if not kept and not files:
        return "completed", result
    return "failed" if kept.get("return_code") else "completed", {**kept, **({"files": files} if files else {})}


def _shown(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in _SHOWN if item.get(name) is not None}
