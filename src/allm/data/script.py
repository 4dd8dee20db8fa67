"""The items of a scripted response, which `Fake` plays in memory and `WireServer` plays over a socket.

Made with the functions of `allm.fake`; both play the same items, so a test can move from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.citation import Citation
from allm.data.content import HostedStatus
from allm.data.errors import AllmError
from allm.data.response import FinishReason, Usage

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
    "UsageItem",
]


@frozen
class Text:
    """Visible text, sent as one or more deltas."""

    text: str


@frozen
class CitationItem:
    """A citation of the text before it, with its place in that block of text."""

    citation: Citation


@frozen
class Reasoning:
    """Readable reasoning, sent before the text that follows it."""

    text: str


@frozen
class ToolCallItem:
    """One complete tool call; `raw_arguments` replaces the JSON of `arguments`, for example with invalid JSON."""

    name: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    id: str | None = None
    raw_arguments: str | None = None


@frozen
class ToolCallDeltaItem:
    """A piece of the arguments of call `id`, for calls that are truncated or arrive in pieces."""

    id: str
    text: str


@frozen
class HostedCallItem:
    """A call that ran at the provider, with its result, or one that waits for the caller."""

    kind: str
    input: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    output: Any = attrs.field(default=None, hash=False)
    id: str | None = None
    status: HostedStatus = "completed"


@frozen
class UsageItem:
    """Token counts reported at this point."""

    usage: Usage


@frozen
class Delay:
    """A pause of `seconds` on Trio's clock, so virtual time under `autojump_clock`."""

    seconds: float


@frozen
class ErrorItem:
    """The response fails here; later items are not played."""

    error: AllmError


@frozen
class PreflightError:
    """The call is rejected before a stream opens; must be the first item."""

    error: AllmError


@frozen
class Raw:
    """A chunk in the provider's format without other events (`RawChunk`)."""

    kind: str
    payload: Any = attrs.field(default=None, hash=False)


@frozen
class Finish:
    """The finish reason of the response; default: `tool_calls` if there was a call, else `stop`."""

    reason: FinishReason


ScriptItem = (
    Text
    | CitationItem
    | Reasoning
    | ToolCallItem
    | ToolCallDeltaItem
    | HostedCallItem
    | UsageItem
    | Delay
    | ErrorItem
    | PreflightError
    | Raw
    | Finish
)

Trouble = Delay | ErrorItem | PreflightError
"""Items of a script for embeddings or moderation: a pause, or an error."""
