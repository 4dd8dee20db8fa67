"""The events of a stream: one closed union of frozen values.

Adapters emit the first group. A clean answer is `MessageStarted`, then blocks of text, reasoning, tool calls and
provider items in the order the provider sends them, `UsageReported` whenever counts are known, and `MessageCompleted`
last. A failed one ends with `Failed` instead. Deltas and their completion share a block `id`, unique in the answer.

Orchestration events come from the chat loop, around and between the answers.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import attrs

from allm.data.content import ImagePart, ProviderPart, ToolCall
from allm.data.errors import AllmError, ToolError
from allm.data.logprobs import TokenLogprob
from allm.data.message import Message
from allm.data.problems import headers_field, mapping_field
from allm.data.response import FinishReason, Usage
from allm.data.results import ChatResult, StepResult

__all__ = [
    "AdapterEvent",
    "AskUserRequested",
    "ChatCompleted",
    "Emit",
    "Event",
    "Failed",
    "ImageCompleted",
    "MessageCompleted",
    "MessageStarted",
    "OrchestrationEvent",
    "ProviderPartCompleted",
    "RawChunk",
    "ReasoningCompleted",
    "ReasoningDelta",
    "StepCompleted",
    "TextCompleted",
    "TextDelta",
    "ToolCallCompleted",
    "ToolCallDelta",
    "ToolCallStarted",
    "ToolExecutionCompleted",
    "ToolExecutionStarted",
    "ToolHalted",
    "ToolProgress",
    "ToolResultEncoded",
    "UsageReported",
]


@attrs.frozen(kw_only=True)
class MessageStarted:
    """The provider began to answer; its ids, as far as they are known by then.

    Attributes:
        headers: Of the HTTP response, as in `Response`.
        abandoned_usage: What earlier attempts of the same call have used, which failed before their content.
    """

    id: str | None = None
    model: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = headers_field()
    abandoned_usage: Usage | None = None


@attrs.frozen
class TextDelta:
    """More visible text of block `id`."""

    id: str
    delta: str
    refusal: bool = False


@attrs.frozen
class TextCompleted:
    """Block `id` is complete; `text` is authoritative and replaces the deltas."""

    id: str
    text: str
    refusal: bool = False
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@attrs.frozen
class ReasoningDelta:
    """More thinking of block `id`."""

    id: str
    delta: str


@attrs.frozen
class ReasoningCompleted:
    """Block `id` is complete, with the opaque data to replay (fields as in `ReasoningPart`)."""

    id: str
    text: str
    provider: str | None = attrs.field(default=None, kw_only=True)
    item_id: str | None = attrs.field(default=None, kw_only=True)
    signature: str | None = attrs.field(default=None, kw_only=True)
    encrypted_content: str | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@attrs.frozen
class ToolCallStarted:
    """The model begins a call; its arguments follow."""

    id: str
    name: str


@attrs.frozen
class ToolCallDelta:
    """More of the arguments' JSON text of call `id`; pieces split anywhere."""

    id: str
    arguments_delta: str


@attrs.frozen
class ToolCallCompleted:
    """Call `id` is complete; replaces what was accumulated (fields as in `ToolCall`)."""

    id: str
    name: str
    arguments: dict[str, Any] | None = attrs.field(default=None, hash=False)
    raw_arguments: str | None = None
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@attrs.frozen
class ProviderPartCompleted:
    """An opaque item of the provider's own, whole; it keeps its place in the content."""

    id: str
    part: ProviderPart


@attrs.frozen
class ImageCompleted:
    """An image that the model made, whole; it keeps its place in the content."""

    id: str
    part: ImagePart


@attrs.frozen
class UsageReported:
    """Token counts so far; each value replaces an earlier one.

    Attributes:
        service_tier: The tier that serves the answer, as far as it is known: it decides what the tokens cost.
    """

    usage: Usage
    service_tier: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class MessageCompleted:
    """The answer ended as the provider means it to end.

    Attributes:
        message: The whole assistant message.
        raw_finish_reason, id, model, service_tier: Known only at the end with some providers; None keeps what is known.
        logprobs: Of all tokens of the answer, as in `Response`.
        metadata: What the answer says about itself beyond its content, under the provider's name.
    """

    message: Message
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = attrs.field(default=None, kw_only=True)
    id: str | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    service_tier: str | None = attrs.field(default=None, kw_only=True)
    logprobs: tuple[TokenLogprob, ...] | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()


@attrs.frozen
class RawChunk:
    """One event of the provider's own format, as it came; only with `include_raw_chunks=True`."""

    kind: str
    payload: Any = attrs.field(default=None, hash=False)


@attrs.frozen
class Failed:
    """The answer failed; the last event of its stream. Everything before it is kept.

    Attributes:
        raw_finish_reason: The provider's own word, where it ended the answer with one that means a failure (Gemini
            `MALFORMED_FUNCTION_CALL`).
    """

    error: AllmError
    raw_finish_reason: str | None = attrs.field(default=None, kw_only=True)


AdapterEvent = (
    MessageStarted
    | TextDelta
    | TextCompleted
    | ReasoningDelta
    | ReasoningCompleted
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallCompleted
    | ProviderPartCompleted
    | ImageCompleted
    | UsageReported
    | MessageCompleted
    | RawChunk
    | Failed
)


@attrs.frozen
class ToolExecutionStarted:
    """A call really starts to run."""

    tool_call: ToolCall


@attrs.frozen
class ToolExecutionCompleted:
    """A call ended; `error` is set when it failed.

    Attributes:
        result: What the handler returned, before encoding.
        abandoned: A sync handler overran its limit; its thread is still running.
    """

    tool_call: ToolCall
    result: Any = attrs.field(default=None, hash=False)
    error: ToolError | None = None
    abandoned: bool = False


@attrs.frozen
class ToolProgress:
    """What a running tool reported through `ToolContext.emit`."""

    tool_call: ToolCall
    payload: Any = attrs.field(default=None, hash=False)


@attrs.frozen
class ToolResultEncoded:
    """The result as the model will read it: one `tool` message."""

    tool_call: ToolCall
    message: Message


@attrs.frozen
class AskUserRequested:
    """A tool needs the user: the turn halts with `question` pending."""

    tool_call: ToolCall
    question: str
    message: Message
    hints: dict[str, Any] = mapping_field()


@attrs.frozen
class ToolHalted:
    """A tool halts the turn for `reason`; `message` is its encoded result."""

    tool_call: ToolCall
    reason: str
    message: Message
    result: Any = attrs.field(default=None, hash=False, kw_only=True)


@attrs.frozen
class StepCompleted:
    """One step of the turn ended."""

    step: StepResult


@attrs.frozen
class ChatCompleted:
    """The turn ended by itself; the last event of a chat stream."""

    result: ChatResult


OrchestrationEvent = (
    ToolExecutionStarted
    | ToolExecutionCompleted
    | ToolProgress
    | ToolResultEncoded
    | AskUserRequested
    | ToolHalted
    | StepCompleted
    | ChatCompleted
)

Event = AdapterEvent | OrchestrationEvent


class Emit(Protocol):
    """Where an adapter puts its events. One call is one burst: the events decoded from one network read."""

    def __call__(self, *events: AdapterEvent) -> Awaitable[None]:
        """Emit one burst; waits while the consumer is behind."""
        ...
