"""The Gemini adapter: encode the request, and stream the answer of `streamGenerateContent`."""

from __future__ import annotations

import functools
from typing import final

import attrs

from allm.adapters import (
    MAX_EVENT_BYTES,
    AdapterOptions,
    Emit,
    StreamAdapter,
    StreamCall,
    explains_settings,
    stream_events,
)
from allm.data.request import Request
from allm.providers.gemini.connection import Connection
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.gemini.encode import encode

__all__ = ["Gemini"]


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class Gemini(Connection, StreamAdapter):
    """Google's Gemini models: `streamGenerateContent` of the Gemini API.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(gemini=...)`, `keys.put`, then GEMINI_API_KEY, then GOOGLE_API_KEY. It travels in the header
            x-goog-api-key, never in the URL.
        base_url: Without the version segment, as the vendor's SDK takes it; else GOOGLE_GEMINI_BASE_URL, else Google
            itself. A query is kept.
        api_version: The version segment of the URL.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    A request's `options` are fields of the request body under their wire names. `generationConfig`, `thinkingConfig`
    inside it, `toolConfig` and `functionCallingConfig` inside it are merged key by key over what the request says, so
    that `options={"generationConfig": {"topK": 40}}` keeps its temperature; `tools`, such as
    `[{"googleSearch": {}}]`, are added to the request's own; every other field replaces what was there.

    Thinking: `reasoning_effort` is a level of Gemini 3 and newer (`minimal`, `low`, `medium`, `high`; `none` asks for
    the least), and a token budget for older models (`none` 0, `low` 1024, `medium` 8192, `high` 24576, as Google maps
    them itself, or a number of tokens). What a model does not have is the next level upwards, else its highest, and its
    least budget. Thoughts are shown with a `reasoning_summary` other than `none`. `verbosity` has no counterpart.
    """

    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def ignored_options(self) -> frozenset[str]:
        """OpenAI's `verbosity` has no counterpart."""
        return frozenset({"verbosity"})

    def prepare(self, request: Request, options: AdapterOptions) -> StreamCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A model name, tool, tool choice, tool result or image that cannot be sent; all of the
                problems in the messages at once.
        """
        origin = self.origin(self.find_base_url(options))
        url = self.address(request.model or "", "streamGenerateContent", options)
        taken = frozenset(call.id for message in request.messages for call in message.tool_calls)
        return self.stream_call(
            f"{url}{'&' if '?' in url else '?'}alt=sse",
            encode(request, options, origin),
            options,
            functools.partial(GeminiDecoder, self.provider, taken, origin=origin),
            max_event_bytes=self.max_event_bytes,
        )

    async def stream(self, prepared: StreamCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await stream_events(prepared, emit)
