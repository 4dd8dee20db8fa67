"""Builders of scripted responses, for `allm.providers.Fake` and `allm.testing.WireServer`.

Example::

    Fake(script=[fake.reasoning("Hm."), fake.text("Hello"), fake.usage(input_tokens=3, output_tokens=1)])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.data.citation import Citation
from allm.data.content import HostedStatus
from allm.data.errors import AllmError
from allm.data.response import FinishReason, Usage
from allm.data.script import (
    CitationItem as CitationItem,
    Delay as Delay,
    ErrorItem as ErrorItem,
    Finish as Finish,
    HostedCallItem as HostedCallItem,
    PreflightError as PreflightError,
    Raw as Raw,
    Reasoning as Reasoning,
    ScriptItem as ScriptItem,
    Text as Text,
    ToolCallDeltaItem as ToolCallDeltaItem,
    ToolCallItem as ToolCallItem,
    Trouble as Trouble,
    UsageItem as UsageItem,
)

__all__ = [
    "CitationItem",
    "Delay",
    "ErrorItem",
    "Finish",
    "HostedCallItem",
    "PreflightError",
    "Raw",
    "Reasoning",
    "ScriptItem",
    "Text",
    "ToolCallDeltaItem",
    "ToolCallItem",
    "Trouble",
    "UsageItem",
    "citation",
    "delay",
    "error",
    "finish",
    "hosted_call",
    "preflight_error",
    "raw",
    "reasoning",
    "text",
    "tool_call",
    "tool_call_delta",
    "usage",
]


def text(text: str) -> Text:
    """Visible text."""
    return Text(text)


def citation(start: int | None = None, end: int | None = None, **fields: Any) -> CitationItem:
    """A citation of the text before it: its place in that block of text, and the other fields of `Citation`."""
    return CitationItem(Citation(start, end, **fields))


def reasoning(text: str) -> Reasoning:
    """Readable reasoning."""
    return Reasoning(text)


def tool_call(
    name: str, args: Mapping[str, Any] | None = None, *, id: str | None = None, raw_arguments: str | None = None
) -> ToolCallItem:
    """A tool call; `raw_arguments` sends that text instead of the JSON of `args`."""
    return ToolCallItem(name, dict(args or {}), id, raw_arguments)


def tool_call_delta(id: str, text: str) -> ToolCallDeltaItem:
    """A piece of the arguments of call `id`; a call made only of pieces completes at the end of the script."""
    return ToolCallDeltaItem(id, text)


def hosted_call(
    kind: str,
    asked: Mapping[str, Any] | None = None,
    output: Any = None,
    *,
    id: str | None = None,
    status: HostedStatus = "completed",
) -> HostedCallItem:
    """A call of a tool that runs at the provider, such as `web_search`, with what came of it.

    With the status `"requires_action"`, one of `mcp` waits for approval, and one of `computer` for a screenshot.
    """
    return HostedCallItem(kind, dict(asked or {}), output, id, status)


def usage(**counts: Any) -> UsageItem:
    """Token counts, named as in `Usage`."""
    return UsageItem(Usage(**counts))


def delay(seconds: float) -> Delay:
    """Silence for `seconds` before the next item."""
    return Delay(seconds)


def error(error: AllmError) -> ErrorItem:
    """The response fails here with `error`."""
    return ErrorItem(error)


def preflight_error(error: AllmError) -> PreflightError:
    """The call raises `error` before its stream opens; it has to be the first item."""
    return PreflightError(error)


def raw(kind: str, payload: Any = None) -> Raw:
    """A raw provider chunk, emitted as a `RawChunk`."""
    return Raw(kind, payload)


def finish(reason: FinishReason) -> Finish:
    """Set the finish reason."""
    return Finish(reason)
