"""The OpenAI adapter: finds the key, the URL and the endpoint, builds the call, hands it to the common HTTP path."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Mapping
from typing import Any, Literal, final

import attrs

from allm.data.errors import EngineError
from allm.data.jsontext import dumps
from allm.data.request import Request
from allm.providers.openai import chat_encode, responses_encode
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.errors import classify
from allm.providers.openai.presets import OPENAI, PRESETS, Preset
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.runtime import keys
from allm.runtime.exchange import HttpCall, exchange
from allm.runtime.ports import AdapterOptions, Emit
from allm.runtime.sse import MAX_EVENT_BYTES
from allm.runtime.transport import check_client, join_url

__all__ = ["OpenAI"]

Endpoint = Literal["auto", "chat_completions", "responses"]


def _secret(value: str | keys.Secret | None) -> keys.Secret | None:
    return keys.Secret(value) if isinstance(value, str) else value


def _known(_adapter: Any, _attribute: Any, name: str | None) -> None:
    if name is not None and name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise EngineError(
            f"no preset {name!r}; expected one of: {', '.join(sorted(PRESETS))}{hint}", reason="unknown_provider"
        )


def _endpoint(_adapter: Any, _attribute: Any, value: str) -> None:
    if value not in {"auto", "chat_completions", "responses"}:
        raise EngineError(
            f"endpoint is {value!r}; expected 'auto', 'chat_completions' or 'responses'", reason="invalid_engine"
        )


@final
@attrs.frozen(kw_only=True, eq=False)
class OpenAI:
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

    preset: str | None = attrs.field(default=None, validator=_known)
    api_key: keys.Secret | None = attrs.field(default=None, converter=_secret)
    base_url: str | None = None
    endpoint: Endpoint = attrs.field(default="auto", validator=_endpoint)
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def provider(self) -> str:
        """`"openai"`, or the preset's name."""
        return self.preset or "openai"

    def prepare(self, request: Request, options: AdapterOptions) -> HttpCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A tool choice or image that cannot be sent.
        """
        row = PRESETS[self.preset] if self.preset else OPENAI
        base_url = self._base_url(row)
        secret = self._key(row, options)
        client = self.http_client or options.http_client
        if client is not None:
            check_client(client)
        if self._uses_responses(request, base_url):
            path, body = "/responses", responses_encode.encode(request, options)
            decoder: Any = functools.partial(ResponsesDecoder, self.provider)
        else:
            path, body = "/chat/completions", chat_encode.encode(request, options, row)
            decoder = functools.partial(ChatDecoder, self.provider)
        return HttpCall(
            provider=self.provider,
            url=join_url(base_url, path),
            headers=self._headers(row, secret, options),
            body=dumps(body),
            new_decoder=decoder,
            classify=functools.partial(classify, self.provider),
            secret=secret,
            client=client,
            max_event_bytes=self.max_event_bytes,
        )

    def _base_url(self, row: Preset) -> str:
        from_env = os.environ.get(row.base_url_env) if row.base_url_env else None
        url = self.base_url or (from_env.rstrip("/") + row.path if from_env else row.base_url)
        if url is None:
            raise EngineError(
                f"{self.provider} has no address of its own: set {row.base_url_env}, or pass base_url=",
                reason="invalid_base_url",
            )
        return url

    def _key(self, row: Preset, options: AdapterOptions) -> keys.Secret | None:
        try:
            return keys.resolve(self.provider, options.api_key or self.api_key, row.key_env)
        except EngineError as error:
            if error.reason == "missing_key" and not row.key_required:
                return None
            raise

    def _uses_responses(self, request: Request, base_url: str) -> bool:
        if self.endpoint != "auto":
            return self.endpoint == "responses"
        return base_url == OPENAI.base_url and bool(responses_encode.REASONING_MODEL.match(request.model or ""))

    def _headers(self, row: Preset, secret: keys.Secret | None, options: AdapterOptions) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",  # compression would hold back the small pieces of a stream
            **row.headers,
        }
        if secret is not None:
            value = secret.reveal()
            headers[row.key_header] = value if row.key_header == "api-key" else f"Bearer {value}"
        optional = {
            "openai-organization": self.organization,
            "openai-project": self.project,
            "x-client-request-id": options.request_id,
        }
        headers.update({name: value for name, value in optional.items() if value is not None})
        headers.update({name.lower(): value for name, value in self.headers.items()})
        return headers

    async def stream(self, prepared: HttpCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await exchange(prepared, emit)
