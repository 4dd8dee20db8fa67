"""The steps of a scripted answer: what `Fake` plays in memory and `WireServer` plays over a socket.

Built with the functions of `allm.fake`; both players read the same items, so a test can move from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.errors import AllmError
from allm.data.response import FinishReason, Usage

__all__ = [
    "Delay",
    "ErrorItem",
    "Finish",
    "PreflightError",
    "Raw",
    "Reasoning",
    "ScriptItem",
    "Text",
    "ToolCallDeltaItem",
    "ToolCallItem",
    "UsageItem",
]


@attrs.frozen
class Text:
    """Visible text, sent as one or more deltas."""

    text: str


@attrs.frozen
class Reasoning:
    """Readable thinking, sent before the text that follows it."""

    text: str


@attrs.frozen
class ToolCallItem:
    """One whole tool call; `raw_arguments` overrides the JSON made from `arguments` (for bad JSON)."""

    name: str
    arguments: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    id: str | None = None
    raw_arguments: str | None = None


@attrs.frozen
class ToolCallDeltaItem:
    """A piece of the arguments of the call `id`, for calls that are cut or arrive in pieces."""

    id: str
    text: str


@attrs.frozen
class UsageItem:
    """Token counts reported at this point."""

    usage: Usage


@attrs.frozen
class Delay:
    """Silence for `seconds` (of the running clock, so virtual under `autojump_clock`)."""

    seconds: float


@attrs.frozen
class ErrorItem:
    """The answer fails here: nothing after this item is played."""

    error: AllmError


@attrs.frozen
class PreflightError:
    """The call is refused before a stream opens: must be the first item."""

    error: AllmError


@attrs.frozen
class Raw:
    """A provider chunk with no meaning of its own (`RawChunk`)."""

    kind: str
    payload: Any = attrs.field(default=None, hash=False)


@attrs.frozen
class Finish:
    """The finish reason of the answer; without it: `tool_calls` if there was a call, else `stop`."""

    reason: FinishReason


ScriptItem = (
    Text | Reasoning | ToolCallItem | ToolCallDeltaItem | UsageItem | Delay | ErrorItem | PreflightError | Raw | Finish
)

Trouble = Delay | ErrorItem | PreflightError
"""What a script of embeddings or moderation can hold: a wait, or an error."""
