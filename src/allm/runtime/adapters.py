"""Protocols of the parts that users can bring: adapters, tool executors and tool result encoders.

Any object with the members of a protocol is an adapter. Optional members have their defaults in `Adapter`, the base
class of adapters over HTTP; `as_adapter` adds the same defaults to adapters that do not derive from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

import attrs

from allm.data.audio import SpeechRequest
from allm.data.content import Part, ToolCall
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.data.errors import Problem
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
"""Limits of one embedding request where the adapter states none: the smallest of the bundled providers (Gemini's)."""


@attrs.frozen(kw_only=True)
class AdapterOptions:
    """Settings of one call that are not part of its request; an adapter uses those that it supports.

    Attributes:
        api_key: The key given with the call; takes precedence over all other sources.
        reasoning_effort: How hard to think, in the provider's own words, such as `low`, `medium`, `high`.
        reasoning_summary: Ask for a readable summary of the reasoning (OpenAI Responses).
        verbosity: How long the response should be (OpenAI).
        request_id: An id to send along for tracing.
        session_id: The conversation this call belongs to.
        http_client: The engine's HTTP client; the adapter never closes it.
        headers: Sent with this call; each replaces the adapter's header of the same name.
        base_url: Where to send this call; takes precedence over the adapter's.
        include_raw_chunks: Also emit each wire event as it arrived, as a `RawChunk`.
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
    """Defaults of the optional members of an adapter; a subclass overrides those that differ."""

    __slots__ = ()

    @property
    @abstractmethod
    def provider(self) -> str:
        """The provider's short name, as in `"openai:gpt-5.5"`."""

    @property
    def requires_model(self) -> bool:
        """Whether a request has to name its model."""
        return True

    @property
    def ignored_options(self) -> frozenset[str]:
        """The names of adapter options that have no counterpart here; a call with one is warned about."""
        return frozenset()

    def needs_structured_finalize(self, _request: Request, /) -> bool | None:
        """Whether the provider cannot take the request's tools and its schema in one call; None: ask the catalog.

        If True, `allm.chat` requests the schema in a final call without tools. An adapter that returns True or False
        handles structured output itself, so the catalog's `json_schema` entries are not checked for it.
        """
        return None

    def refused_parameters(self, _request: Request, _options: AdapterOptions, /) -> Iterable[Problem]:
        """The parameters of a request that the API refuses for every model, by their path, as in `("temperature",)`.

        One that is a default of the engine or the application is left out; any other is an error.
        """
        return ()

    def batch_limits(self, _model: str | None, /) -> BatchLimits:
        """The most that one embedding request may hold."""
        return UNKNOWN_LIMITS


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


class ImageAdapter(UnaryAdapter[ImageRequest, ImageResponse], Protocol):
    """A provider of images: `Engine(image_adapter=...)`."""


class EmbeddingAdapter(UnaryAdapter[EmbeddingRequest, EmbeddingResponse], Protocol):
    """A provider of embeddings. The indexes in its responses count from 0 within each request.

    `Adapter.batch_limits` bounds one request.
    """


@attrs.frozen(kw_only=True)
class SpokenAnswer:
    """Speech while it arrives.

    Attributes:
        pieces: The audio's bytes, one item per network read. It raises `AdapterError` if the transfer fails.
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


def as_adapter(adapter: Any) -> Adapter:
    """Return the adapter with all optional members: wrapped to add them if it does not derive from `Adapter`."""
    return adapter if isinstance(adapter, Adapter) else _WithDefaults(adapter)


class _WithDefaults(Adapter):
    """Wraps an adapter that does not derive from `Adapter`; members that it lacks have their defaults."""

    __slots__ = ("_adapter",)

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    @property
    def provider(self) -> str:
        return str(getattr(self._adapter, "provider", "unknown"))

    @property
    def requires_model(self) -> bool:
        return bool(getattr(self._adapter, "requires_model", super().requires_model))

    @property
    def ignored_options(self) -> frozenset[str]:
        return frozenset(getattr(self._adapter, "ignored_options", super().ignored_options))

    def needs_structured_finalize(self, request: Request, /) -> bool | None:
        needs = getattr(self._adapter, "needs_structured_finalize", super().needs_structured_finalize)
        result: bool | None = needs(request)  # the annotation types what an unknown object returns
        return result

    def refused_parameters(self, request: Request, options: AdapterOptions, /) -> Iterable[Problem]:
        refused = getattr(self._adapter, "refused_parameters", super().refused_parameters)
        result: Iterable[Problem] = refused(request, options)
        return result

    def batch_limits(self, model: str | None, /) -> BatchLimits:
        limits = getattr(self._adapter, "batch_limits", super().batch_limits)
        result: BatchLimits = limits(model)
        return result
