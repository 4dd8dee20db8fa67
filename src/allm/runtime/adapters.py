"""Protocols of the parts that users can bring: adapters, tool executors and tool result encoders.

Any object with the members of a protocol is an adapter. Optional members have their defaults in `Adapter`, the base
class of adapters over HTTP (`runtime/http_adapter.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import Part, ToolCall
from allm.data.events import Emit as Emit
from allm.data.request import Request
from allm.data.tool import Tool
from allm.http.answer_limits import DEFAULT_ANSWER_LIMITS, AnswerLimits
from allm.http.keys import Secret
from allm.http.private_url import PrivateUrl

if TYPE_CHECKING:  # not needed for a chat
    from allm.data.cache import Cache
    from allm.data.embedding import EmbeddingRequest, EmbeddingResponse  # noqa: F401  in the texts below
    from allm.data.image_request import ImageRequest, ImageResponse  # noqa: F401  in the texts below
    from allm.data.response import Usage
    from allm.data.speech import SpeechRequest, Transcription, TranscriptionRequest  # noqa: F401  in texts
    from allm.data.transcription_events import TranscriptionEvent

__all__ = [
    "AdapterOptions",
    "Companion",
    "EmbeddingAdapter",
    "Emit",
    "ImageAdapter",
    "OutputMode",
    "SpeechAdapter",
    "SpokenAnswer",
    "StreamAdapter",
    "StreamedTranscription",
    "ToolExecutor",
    "ToolMode",
    "ToolResultEncoder",
    "TranscriptionAdapter",
    "UnaryAdapter",
]


OutputMode = Literal["native", "tool", "prompted"]
"""A way to ask for an answer that fits a schema."""

ToolMode = Literal["native", "prompted"]
"""A way to give tools to a model."""

Companion = Literal["token_counter", "model_list", "files", "caches", "batches"]
"""A service that a provider of chat has beside it, at the same address and with the same key."""


@frozen(kw_only=True)
class AdapterOptions:
    """Settings of one call that are not part of its request; an adapter uses those that it supports.

    Attributes:
        api_key: The key given with the call; takes precedence over all other sources.
        reasoning_effort: How hard to think, in the provider's own words, such as `low`, `medium`, `high`.
        reasoning_summary: Ask for a readable summary of the reasoning (OpenAI Responses).
        verbosity: How long the response should be (OpenAI).
        prompt_cache: Whether the provider keeps the prompt for the next call, and for how long (`"5m"`, `"1h"`);
            None: as the adapter, or the provider, does it.
        prompt_cache_key: What calls with the same beginning have in common, for providers that route by it (OpenAI).
        cached_content: A prompt that the provider keeps, and that this one goes on from; only an adapter with the
            companion `caches` gets one.
        request_id: An id to send along for tracing.
        session_id: The conversation this call belongs to.
        http_client: The engine's HTTP client; the adapter never closes it.
        headers: Sent with this call; each replaces the adapter's header of the same name. Secret values are sealed.
        base_url: Where to send this call; takes precedence over the adapter's.
        include_raw_chunks: Also emit each wire event as it arrived, as a `RawChunk`.
        answer_limits: How much the answer may hold. What is emitted is counted without an adapter's help; what it holds
            back is for the adapter to bound, which `StreamDecoder` does.
    """

    api_key: Secret | None = None
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    verbosity: str | None = None
    prompt_cache: bool | Literal["5m", "1h"] | None = None
    prompt_cache_key: str | None = None
    cached_content: Cache | None = None
    request_id: str | None = None
    session_id: str | None = None
    http_client: Any = None
    headers: Mapping[str, str | Secret] = attrs.field(factory=dict[str, str | Secret], repr=False, hash=False)
    base_url: str | None = attrs.field(default=None, converter=attrs.converters.optional(PrivateUrl))
    include_raw_chunks: bool = False
    answer_limits: AnswerLimits = DEFAULT_ANSWER_LIMITS


@runtime_checkable
class StreamAdapter(Protocol):
    """A chat provider. `prepare` is pure and raises if the call is invalid; `stream` runs as a task and emits events.

    An adapter never retries, never sets time limits and never catches `trio.Cancelled`; the execution layer owns all
    three. It may raise an `AdapterError`, which becomes the last event of its stream.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-5.5"`."""
        ...

    @abstractmethod
    def prepare(self, request: Request, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: The call is invalid.
        """
        ...

    @abstractmethod
    async def stream(self, prepared: Any, emit: Emit, /) -> None:
        """Make the call that `prepare` built and emit its events, `MessageCompleted` last."""
        ...


RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", covariant=True)


class UnaryAdapter(Protocol[RequestT_contra, ResponseT_co]):
    """A provider whose response arrives in one piece: images, embeddings, moderation, transcription.

    As with `StreamAdapter`, `prepare` is pure, and `send` neither retries nor sets time limits.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-image-2"`."""
        ...

    @abstractmethod
    def prepare(self, request: RequestT_contra, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: The call is invalid.
        """
        ...

    @abstractmethod
    async def send(self, prepared: Any, /) -> ResponseT_co:
        """Make the call that `prepare` built, once.

        Raises:
            AdapterError: The call failed.
        """
        ...


class ImageAdapter(UnaryAdapter["ImageRequest", "ImageResponse"], Protocol):
    """A provider of images: `Engine(image_adapter=...)`."""


class EmbeddingAdapter(UnaryAdapter["EmbeddingRequest", "EmbeddingResponse"], Protocol):
    """A provider of embeddings. The indexes in its responses count from 0 within each request.

    `Adapter.batch_limits` bounds one request.
    """


@frozen(kw_only=True)
class SpokenAnswer:
    """Speech while it arrives.

    Attributes:
        pieces: The audio's bytes, one item per network read. It raises `AdapterError` if the transfer fails.
        mime_type: Such as `audio/mpeg`.
        request_id: The provider's id of the HTTP request.
        usage: Where the response says it before the audio has ended.
    """

    pieces: AsyncIterator[bytes]
    mime_type: str | None = None
    request_id: str | None = None
    usage: Usage | None = None


@frozen(kw_only=True)
class StreamedTranscription:
    """A transcription while it arrives.

    Attributes:
        events: Its events, `TranscriptionCompleted` last. It raises `AdapterError` if the transfer fails.
        request_id: The provider's id of the HTTP request.
    """

    events: AsyncIterator[TranscriptionEvent]
    request_id: str | None = None


class TranscriptionAdapter(UnaryAdapter["TranscriptionRequest", "Transcription"], Protocol):
    """A provider of transcription that can stream it; one that cannot is a plain `UnaryAdapter`."""

    @abstractmethod
    def prepare_stream(self, request: TranscriptionRequest, options: AdapterOptions, /) -> Any:
        """As `prepare`, for `open`."""
        ...

    @abstractmethod
    def open(self, prepared: Any, /) -> AbstractAsyncContextManager[StreamedTranscription]:
        """Make the call that `prepare_stream` built, once.

        Raises:
            AdapterError: The call failed.
        """
        ...


class SpeechAdapter(Protocol):
    """A provider of speech: `Engine(speech_adapter=...)`."""

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name."""
        ...

    @abstractmethod
    def prepare(self, request: SpeechRequest, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: The call is invalid.
        """
        ...

    @abstractmethod
    def open(self, prepared: Any, /) -> AbstractAsyncContextManager[SpokenAnswer]:
        """Make the call that `prepare` built, once; its audio can be read while the block is open.

        Raises:
            AdapterError: The call failed.
        """
        ...


class ToolExecutor(Protocol):
    """Runs one tool call: `Engine(tool_executor=...)`."""

    async def execute(self, tool: Tool, tool_call: ToolCall, context: Any) -> Any:
        """Return the handler's result; an exception goes to `on_tool_error`."""
        ...


class ToolResultEncoder(Protocol):
    """Converts a handler's result to what the model reads: `Engine(tool_result_encoder=...)`."""

    def encode(self, value: Any) -> str | tuple[Part, ...]:
        """Return text, or parts such as an image with a text; an exception becomes `encoding_failed`."""
        ...
