"""What the runtime asks of the parts a user can bring: adapters, tool executors, result encoders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

import attrs

from allm.data.audio import SpeechRequest
from allm.data.content import ToolCall
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.data.events import Emit as Emit
from allm.data.image_request import ImageRequest, ImageResponse
from allm.data.request import Request
from allm.data.tool import Tool
from allm.runtime.batches import BatchLimits
from allm.runtime.keys import Secret

__all__ = [
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
]


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
    """

    api_key: Secret | None = None
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    verbosity: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    http_client: Any = None


@runtime_checkable
class StreamAdapter(Protocol):
    """A provider. `prepare` is pure and raises what is wrong; `stream` runs as a task and pushes events.

    An adapter never retries, never times out and never catches `trio.Cancelled`: the execution layer does all that.
    It may raise an `AdapterError`, which becomes the last event of its stream.
    """

    @property
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-5"`."""
        ...

    def prepare(self, request: Request, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: What is wrong with the call.
        """
        ...

    async def stream(self, prepared: Any, emit: Emit, /) -> None:
        """Make the call that `prepare` built and emit its events, `MessageCompleted` last."""
        ...


RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", covariant=True)


class UnaryAdapter(Protocol[RequestT_contra, ResponseT_co]):
    """A provider of what answers in one piece: images, embeddings, moderation, speech.

    As with `StreamAdapter`, `prepare` is pure and `send` neither retries nor times out.
    """

    @property
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-image-1"`."""
        ...

    def prepare(self, request: RequestT_contra, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: What is wrong with the call.
        """
        ...

    async def send(self, prepared: Any, /) -> ResponseT_co:
        """Make the call that `prepare` built, once.

        Raises:
            AdapterError: Whatever went wrong.
        """
        ...


class ImageAdapter(UnaryAdapter[ImageRequest, ImageResponse], Protocol):
    """A provider of images: `Engine(image_adapter=...)`."""


class EmbeddingAdapter(UnaryAdapter[EmbeddingRequest, EmbeddingResponse], Protocol):
    """A provider of embeddings. The indexes in its answers count from 0 within each request."""

    def batch_limits(self, model: str | None, /) -> BatchLimits:
        """The most that one request may hold; an adapter without this method is given 100 inputs at most."""
        ...


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

    @property
    def provider(self) -> str:
        """The provider's short name."""
        ...

    def prepare(self, request: SpeechRequest, options: AdapterOptions, /) -> Any:
        """Check the request, find the key, build the body. Sends nothing.

        Raises:
            ValidationError, EngineError, AdapterError: What is wrong with the call.
        """
        ...

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
    """Makes a handler's result the text the model reads: `Engine(tool_result_encoder=...)`."""

    def encode(self, value: Any) -> str:
        """The text; an exception becomes `encoding_failed`."""
        ...
