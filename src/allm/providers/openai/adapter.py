"""The OpenAI adapter: finds the key, the URL and the endpoint, builds the call, hands it to the common HTTP path."""

from __future__ import annotations

import functools
from typing import Any, Literal, final

import attrs

from allm.data.errors import EngineError
from allm.data.jsontext import dumps
from allm.data.request import Request
from allm.providers.openai import chat_encode, responses_encode
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.connection import Connection
from allm.providers.openai.errors import classify
from allm.providers.openai.presets import OPENAI
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.runtime.exchange import HttpCall, exchange
from allm.runtime.ports import AdapterOptions, Emit
from allm.runtime.sse import MAX_EVENT_BYTES
from allm.runtime.transport import join_url

__all__ = ["OpenAI"]

STREAM_HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream, application/json",
    "accept-encoding": "identity",  # compression would hold back the small pieces of a stream
}

Endpoint = Literal["auto", "chat_completions", "responses"]


def _endpoint(_adapter: Any, _attribute: Any, value: str) -> None:
    if value not in {"auto", "chat_completions", "responses"}:
        raise EngineError(
            f"endpoint is {value!r}; expected 'auto', 'chat_completions' or 'responses'", reason="invalid_engine"
        )


@final
@attrs.frozen(kw_only=True, eq=False)
class OpenAI(Connection):
    """OpenAI, and every service that speaks its wire format.

    Args:
        preset: A known service: `azure`, `groq`, `openrouter`, `mistral`, `deepseek`, `together`, `fireworks`, `xai`,
            `ollama`, `vllm`, `llamacpp`. `Engine.from_model("groq:...")` means the same.
        api_key: Else `keys.override(openai=...)` (or the preset's name), `keys.put`, then OPENAI_API_KEY (or the
            preset's variable).
        base_url: With the version segment, as the vendor's SDK takes it; else OPENAI_BASE_URL (or the preset's), else
            the service itself. A query (Azure's `?api-version=...`) is kept.
        endpoint: Which API to use. `auto` is Responses for OpenAI's reasoning models (o series, gpt-5 and later) at
            OpenAI itself, and Chat Completions for everything else and everywhere else.
        organization, project: Sent as OpenAI-Organization and OpenAI-Project.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    Raises:
        EngineError: `unknown_provider`: there is no such preset. `invalid_engine`: no such endpoint.
    """

    endpoint: Endpoint = attrs.field(default="auto", validator=_endpoint)
    max_event_bytes: int = MAX_EVENT_BYTES

    def prepare(self, request: Request, options: AdapterOptions) -> HttpCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A tool choice or image that cannot be sent.
        """
        base_url, secret = self.address(), self.resolve_key(options)
        if self._uses_responses(request, base_url):
            path, body = "/responses", responses_encode.encode(request, options)
            decoder: Any = functools.partial(ResponsesDecoder, self.provider)
        else:
            path, body = "/chat/completions", chat_encode.encode(request, options, self.row)
            decoder = functools.partial(ChatDecoder, self.provider)
        return HttpCall(
            provider=self.provider,
            url=join_url(base_url, path),
            headers=self.all_headers(secret, options, STREAM_HEADERS),
            body=dumps(body),
            new_decoder=decoder,
            classify=functools.partial(classify, self.provider),
            secret=secret,
            client=self.client(options),
            max_event_bytes=self.max_event_bytes,
        )

    def _uses_responses(self, request: Request, base_url: str) -> bool:
        if self.endpoint != "auto":
            return self.endpoint == "responses"
        return base_url == OPENAI.base_url and bool(responses_encode.REASONING_MODEL.match(request.model or ""))

    async def stream(self, prepared: HttpCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await exchange(prepared, emit)
