"""The events of a stream, as one closed union of frozen values.

Adapters emit the first group. A complete response is `MessageStarted`, then blocks of text, reasoning, tool calls and
provider items in the order the provider sends them, `UsageReported` whenever counts are known, and `MessageCompleted`
last. A failed response ends with `Failed` instead. Deltas and their completion share a block `id`, unique in the
response.

Orchestration events come from the chat loop, around and between the responses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Protocol

import attrs

from allm.data.attrs_classes import frozen
from allm.data.citation import Citation
from allm.data.content import HostedCall, ImagePart, ProviderPart, ToolCall
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
    "CitationAdded",
    "Emit",
    "Event",
    "Failed",
    "HostedCallCompleted",
    "HostedCallStarted",
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


@frozen(kw_only=True)
class MessageStarted:
    """The provider began its response; with its ids, as far as they are known.

    Attributes:
        headers: Headers of the HTTP response, as in `Response`.
        abandoned_usage: Usage of earlier attempts of the same call that failed before any content.
    """

    id: str | None = None
    model: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = headers_field()
    abandoned_usage: Usage | None = None


@frozen
class TextDelta:
    """More visible text of block `id`.

    Attributes:
        id: The block; a response may have several.
        delta: The new text, to be put behind what came before.
        refusal: The model declines, and this is its explanation.
    """

    id: str
    delta: str
    refusal: bool = False


@frozen
class TextCompleted:
    """Block `id` is complete; `text` is authoritative and replaces the deltas."""

    id: str
    text: str
    refusal: bool = False
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class CitationAdded:
    """A source of text block `id`, which has begun and may be complete; its place is in the text so far."""

    id: str
    citation: Citation


@frozen
class ReasoningDelta:
    """More reasoning text of block `id`."""

    id: str
    delta: str


@frozen
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


@frozen
class ToolCallStarted:
    """The model begins a tool call; its arguments follow."""

    id: str
    name: str


@frozen
class ToolCallDelta:
    """More of the JSON text of the arguments of call `id`; it may be split anywhere."""

    id: str
    arguments_delta: str


@frozen
class ToolCallCompleted:
    """Call `id` is complete, and replaces what the deltas gave (fields as in `ToolCall`)."""

    id: str
    name: str
    arguments: dict[str, Any] | None = attrs.field(default=None, hash=False)
    raw_arguments: str | None = None
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class ProviderPartCompleted:
    """A complete, opaque item in the provider's own format; it keeps its place in the content."""

    id: str
    part: ProviderPart


@frozen
class HostedCallStarted:
    """A tool of the provider's begins to run.

    Attributes:
        call: As far as it is known. With `data`, it is an item that keeps its place in the content.
    """

    id: str
    call: HostedCall


@frozen
class HostedCallCompleted:
    """Call `id`, which has started, is over; `call` keeps its place in the content."""

    id: str
    call: HostedCall


@frozen
class ImageCompleted:
    """A complete image that the model made; it keeps its place in the content."""

    id: str
    part: ImagePart


@frozen
class UsageReported:
    """Token counts so far; each reported count replaces the earlier one.

    Attributes:
        service_tier: The tier that serves the response, if known; it decides what the tokens cost.
    """

    usage: Usage
    service_tier: str | None = attrs.field(default=None, kw_only=True)


@frozen
class MessageCompleted:
    """The response ended regularly.

    Attributes:
        message: The complete assistant message.
        raw_finish_reason, id, model, service_tier: Known only at the end with some providers; None keeps the earlier
            value.
        logprobs: Those of all tokens of the response, as in `Response`.
        metadata: Facts about the response beyond its content, under the provider's name.
    """

    message: Message
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = attrs.field(default=None, kw_only=True)
    id: str | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    service_tier: str | None = attrs.field(default=None, kw_only=True)
    logprobs: tuple[TokenLogprob, ...] | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()


@frozen
class RawChunk:
    """One event in the provider's own format; only with `include_raw_chunks=True`."""

    kind: str
    payload: Any = attrs.field(default=None, hash=False)


@frozen
class Failed:
    """The response failed. This is the last event of its stream; the events before it stay in the result.

    Attributes:
        raw_finish_reason: The provider's finish reason, if it ended the response with one that means a failure (Gemini
            `MALFORMED_FUNCTION_CALL`).
    """

    error: AllmError
    raw_finish_reason: str | None = attrs.field(default=None, kw_only=True)


AdapterEvent = (
    MessageStarted
    | TextDelta
    | TextCompleted
    | CitationAdded
    | ReasoningDelta
    | ReasoningCompleted
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallCompleted
    | ProviderPartCompleted
    | HostedCallStarted
    | HostedCallCompleted
    | ImageCompleted
    | UsageReported
    | MessageCompleted
    | RawChunk
    | Failed
)


@frozen
class ToolExecutionStarted:
    """A tool call starts to run."""

    tool_call: ToolCall


@frozen
class ToolExecutionCompleted:
    """A tool call ended; `error` is set if it failed.

    Attributes:
        result: What the handler returned, before encoding.
        abandoned: A sync handler exceeded its time limit, and its thread is still running.
    """

    tool_call: ToolCall
    result: Any = attrs.field(default=None, hash=False)
    error: ToolError | None = None
    abandoned: bool = False


@frozen
class ToolProgress:
    """A running tool reported progress through `ToolContext.emit`."""

    tool_call: ToolCall
    payload: Any = attrs.field(default=None, hash=False)


@frozen
class ToolResultEncoded:
    """The result of a call, as the `tool` message that the model will read."""

    tool_call: ToolCall
    message: Message


@frozen
class AskUserRequested:
    """A tool needs the user: the turn halts with `question` pending."""

    tool_call: ToolCall
    question: str
    message: Message
    hints: dict[str, Any] = mapping_field()


@frozen
class ToolHalted:
    """A tool halts the turn for `reason`; `message` is its encoded result."""

    tool_call: ToolCall
    reason: str
    message: Message
    result: Any = attrs.field(default=None, hash=False, kw_only=True)


@frozen
class StepCompleted:
    """One step of the turn ended."""

    step: StepResult


@frozen
class ChatCompleted:
    """The turn ended; the last event of a chat stream that is read to its end."""

    result: ChatResult


def _messages(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(value)


@frozen
class MessagesAdded:
    """Messages have joined the conversation before the next model call.

    From the user (`events.send_user`), from `before_step`, or from the library, as for `validation_retries`.
    """

    messages: tuple[Message, ...] = attrs.field(converter=_messages)


OrchestrationEvent = (
    ToolExecutionStarted
    | ToolExecutionCompleted
    | ToolProgress
    | ToolResultEncoded
    | AskUserRequested
    | ToolHalted
    | StepCompleted
    | MessagesAdded
    | ChatCompleted
)

Event = AdapterEvent | OrchestrationEvent


class Emit(Protocol):
    """The function through which an adapter emits events. One call is one burst: what one read brought, or more."""

    def __call__(self, *events: AdapterEvent) -> Awaitable[None]:
        """Emit one burst; waits if the consumer is behind."""
        ...
