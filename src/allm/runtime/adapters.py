"""What the runtime asks of the parts a user can bring: adapters, tool executors, result encoders.

The protocols are the least that an adapter has: any object with these members will do. What is optional has its default
in `Adapter`, from which adapters over HTTP derive; `as_adapter` gives others the same defaults.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

import attrs

from allm.data.audio import SpeechRequest
from allm.data.content import Part, ToolCall
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.data.events import Emit as Emit
from allm.data.image_request import ImageRequest, ImageResponse
from allm.data.request import Request
from allm.data.tool import Tool
from allm.http.keys import Secret
from allm.runtime.batches import BatchLimits

__all__ = [
    "Adapter",
    "AdapterOptions",
    "EmbeddingAdapter",
    "Emit",
    "ImageAdapter",
    "SpeechAdapter",
    "SpokenAnswer",
    "StreamAdapter",
    "ToolExecutor",
    "ToolResultEncoder",
    "UnaryAdapter",
    "as_adapter",
]


UNKNOWN_LIMITS = BatchLimits(100)
"""What one request for embeddings may hold where the adapter does not say: the least of what the bundled ones take."""


@attrs.frozen(kw_only=True)
class AdapterOptions:
    """What a call tells the adapter beyond the request; every adapter takes what it understands.

    Attributes:
        api_key: The key given with the call; wins over every other place.
        reasoning_effort: How hard to think: a provider's own word such as `low`, `medium`, `high`.
        reasoning_summary: Ask for a readable summary of the thinking (OpenAI Responses).
        verbosity: How long the answer should be (OpenAI).
        request_id: An id to send along for tracing.
        session_id: The conversation this call belongs to.
        http_client: The engine's HTTP client, never closed here.
        headers: Sent with this call; each wins over the adapter's of the same name.
        base_url: Where to send this call; wins over the adapter's.
        include_raw_chunks: Show each event of the wire as it came, as `RawChunk`.
    """

    api_key: Secret | None = None
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    verbosity: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    http_client: Any = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False, hash=False)
    base_url: str | None = None
    include_raw_chunks: bool = False


class Adapter(ABC):
    """What every adapter can say of itself; a subclass overrides what differs for it."""

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-5"`."""

    @property
    def requires_model(self) -> bool:
        """Whether a request has to name its model."""
        return True

    def needs_structured_finalize(self, _request: Request, /) -> bool | None:
        """Whether the provider cannot have the request's tools and its schema in one call; None: the catalog knows.

        Where it is True, `allm.chat` asks for the schema in a last call without tools. An adapter that says True or
        False has its own ways to structured output, and is not held to the catalog of models there.
        """
        return None

    def batch_limits(self, _model: str | None, /) -> BatchLimits:
        """The most that one request for embeddings may hold."""
        return UNKNOWN_LIMITS


@runtime_checkable
class StreamAdapter(Protocol):
    """A provider. `prepare` is pure and raises what is wrong; `stream` runs as a task and pushes events.

    An adapter never retries, never times out and never catches `trio.Cancelled`: the execution layer does all that.
    It may raise an `AdapterError`, which becomes the last event of its stream.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-5"`."""
        ...

    @abstractmethod
    def prepare(self, request: Request, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: What is wrong with the call.
        """
        ...

    @abstractmethod
    async def stream(self, prepared: Any, emit: Emit, /) -> None:
        """Make the call that `prepare` built and emit its events, `MessageCompleted` last."""
        ...


RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", covariant=True)


class UnaryAdapter(Protocol[RequestT_contra, ResponseT_co]):
    """A provider of what answers in one piece: images, embeddings, moderation, speech.

    As with `StreamAdapter`, `prepare` is pure and `send` neither retries nor times out.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-image-1"`."""
        ...

    @abstractmethod
    def prepare(self, request: RequestT_contra, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: What is wrong with the call.
        """
        ...

    @abstractmethod
    async def send(self, prepared: Any, /) -> ResponseT_co:
        """Make the call that `prepare` built, once.

        Raises:
            AdapterError: Whatever went wrong.
        """
        ...


class ImageAdapter(UnaryAdapter[ImageRequest, ImageResponse], Protocol):
    """A provider of images: `Engine(image_adapter=...)`."""


class EmbeddingAdapter(UnaryAdapter[EmbeddingRequest, EmbeddingResponse], Protocol):
    """A provider of embeddings. The indexes in its answers count from 0 within each request.

    `Adapter.batch_limits` says how much one request may hold.
    """


@attrs.frozen(kw_only=True)
class SpokenAnswer:
    """Audio that is arriving.

    Attributes:
        pieces: The bytes, one item per read; ends with the audio. An `AdapterError` out of it is a failure.
        mime_type: Such as `audio/mpeg`.
        request_id: The provider's id of the HTTP request.
    """

    pieces: AsyncIterator[bytes]
    mime_type: str | None = None
    request_id: str | None = None


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
            ValidationError, EngineError, AdapterError: What is wrong with the call.
        """
        ...

    @abstractmethod
    def open(self, prepared: Any, /) -> AbstractAsyncContextManager[SpokenAnswer]:
        """Make the call that `prepare` built, once, and give its audio while the block is open.

        Raises:
            AdapterError: Whatever went wrong.
        """
        ...


class ToolExecutor(Protocol):
    """Runs one tool call: `Engine(tool_executor=...)`."""

    async def execute(self, tool: Tool, tool_call: ToolCall, context: Any) -> Any:
        """What the handler returns; what it raises is fed to `on_tool_error`."""
        ...


class ToolResultEncoder(Protocol):
    """Makes a handler's result what the model reads: `Engine(tool_result_encoder=...)`."""

    def encode(self, value: Any) -> str | tuple[Part, ...]:
        """Text, or parts such as an image beside a text; an exception becomes `encoding_failed`."""
        ...


def as_adapter(adapter: Any) -> Adapter:
    """The adapter with every optional member: an object that only has those of its protocol gets the defaults."""
    return adapter if isinstance(adapter, Adapter) else _Structural(adapter)


class _Structural(Adapter):
    """An adapter that does not derive from `Adapter`; whatever it lacks has its default."""

    __slots__ = ("_adapter",)

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    @property
    def provider(self) -> str:
        return str(getattr(self._adapter, "provider", "unknown"))

    @property
    def requires_model(self) -> bool:
        return bool(getattr(self._adapter, "requires_model", super().requires_model))

    def needs_structured_finalize(self, request: Request, /) -> bool | None:
        needs = getattr(self._adapter, "needs_structured_finalize", super().needs_structured_finalize)
        answer: bool | None = needs(request)
        return answer

    def batch_limits(self, model: str | None, /) -> BatchLimits:
        limits = getattr(self._adapter, "batch_limits", super().batch_limits)
        found: BatchLimits = limits(model)
        return found
