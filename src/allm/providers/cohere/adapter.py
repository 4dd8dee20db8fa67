"""The Cohere adapter: encode the request, and stream the answer of Chat, version 2."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import final

import attrs

from allm.adapters import (
    MAX_EVENT_BYTES,
    AdapterOptions,
    Emit,
    OutputMode,
    StreamAdapter,
    StreamCall,
    explains_settings,
    stream_events,
)
from allm.data.content import DocumentPart
from allm.data.request import Request
from allm.providers.cohere.chat_decode import ChatDecoder
from allm.providers.cohere.chat_encode import encode
from allm.providers.cohere.connection import Connection

__all__ = ["Cohere"]


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class Cohere(Connection, StreamAdapter):
    """Cohere's own Chat API, which cites the documents that it is given; `OpenAI(preset="cohere")` has no citations.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(cohere=...)`, `keys.put`, then COHERE_API_KEY, then CO_API_KEY.
        base_url: With the version; else COHERE_V2_BASE_URL, else Cohere itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    Documents that are text go into the field `documents`, wherever in the conversation they stand. A request's
    `options` are fields of the body under their wire names and win; documents and tools in them are added.

    Thinking: `reasoning_effort` is a budget of tokens (512, 1024, 4096, 16384, or a number); `none` switches it off.
    """

    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def ignored_options(self) -> frozenset[str]:
        """OpenAI's `verbosity` and `prompt_cache_key` have no counterparts; prompts are cached unasked."""
        return frozenset({"prompt_cache_key", "verbosity"})

    def output_modes(self, request: Request, _options: AdapterOptions) -> Sequence[OutputMode]:
        """A schema goes with neither tools nor documents: https://docs.cohere.com/docs/structured-outputs."""
        parts = (part for message in request.messages for part in message.parts)
        alone = not request.tools and not any(isinstance(part, DocumentPart) for part in parts)
        return ("native", "tool", "prompted") if alone else ("tool", "prompted")

    def prepare(self, request: Request, options: AdapterOptions) -> StreamCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: Messages, files, a tool choice, format or option that cannot be sent; all at once.
        """
        origin = self.origin(self.find_base_url(options))
        return self.stream_call(
            self.url("/chat", options),
            encode(request, options, origin),
            options,
            functools.partial(ChatDecoder, self.provider, origin=origin),
            max_event_bytes=self.max_event_bytes,
        )

    async def stream(self, prepared: StreamCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await stream_events(prepared, emit)
