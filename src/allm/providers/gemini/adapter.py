"""The Gemini adapter: finds the key and the URL, builds the call, hands it to the common HTTP path."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, final
from urllib.parse import quote, urlsplit

import attrs

from allm.data.errors import ValidationError
from allm.data.jsontext import dumps
from allm.data.request import Request
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.gemini.encode import encode
from allm.providers.gemini.errors import classify
from allm.runtime import keys
from allm.runtime.exchange import HttpCall, exchange
from allm.runtime.ports import AdapterOptions, Emit
from allm.runtime.sse import MAX_EVENT_BYTES
from allm.runtime.transport import check_client, join_url

__all__ = ["Gemini"]

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
# First segments of a model name that is a whole resource name already; the last two are Vertex AI's.
COLLECTIONS = frozenset({"models", "tunedModels", "publishers", "projects"})


def _secret(value: str | keys.Secret | None) -> keys.Secret | None:
    return keys.Secret(value) if isinstance(value, str) else value


def resource_name(model: str) -> str:
    """The part of the URL that names the model, quoted: `models/gemini-3.5-flash`, `tunedModels/mine`.

    Raises:
        ValidationError: A name that would reach outside its place in the URL.
    """
    segments = model.split("/")
    if segments[0] not in COLLECTIONS or len(segments) == 1:
        segments = ["models", model]
    if any(segment in {"", ".", ".."} for segment in segments):
        raise ValidationError(
            [(("model",), "invalid_format")],
            reason="invalid_request",
            message=f"model {model!r} cannot be part of a URL: expected a name such as gemini-3.5-flash, "
            "models/gemini-3.5-flash or tunedModels/my-model",
        )
    return "/".join(quote(segment, safe="") for segment in segments)


@final
@attrs.frozen(kw_only=True, eq=False)
class Gemini:
    """Google's Gemini models: `streamGenerateContent` of the Gemini API.

    Args:
        api_key: Else `keys.override(gemini=...)`, `keys.put`, then GEMINI_API_KEY, then GOOGLE_API_KEY. It travels in
            the header x-goog-api-key, never in the URL.
        base_url: Without the version segment, as the vendor's SDK takes it; else GOOGLE_GEMINI_BASE_URL, else Google
            itself. A query is kept.
        api_version: The version segment of the URL.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.

    A request's `options` are fields of the request body under their wire names. `generationConfig`, `thinkingConfig`
    inside it, `toolConfig` and `functionCallingConfig` inside it are merged key by key over what the request says, so
    that `options={"generationConfig": {"topP": 0.9}}` keeps its temperature; `tools`, such as
    `[{"googleSearch": {}}]`, are added to the request's own; every other field replaces what was there.

    Thinking: `reasoning_effort` is a level of Gemini 3 and newer (`minimal`, `low`, `medium`, `high`; `none` asks for
    the least), and a token budget for older models (`none` 0, `low` 1024, `medium` 8192, `high` 24576, as Google maps
    them itself, or a number of tokens). Thoughts are shown with a `reasoning_summary` other than `none`. `verbosity`
    has no counterpart.
    """

    api_key: keys.Secret | None = attrs.field(default=None, converter=_secret)
    base_url: str | None = None
    api_version: str = "v1beta"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def provider(self) -> str:
        """`"gemini"`."""
        return "gemini"

    def prepare(self, request: Request, options: AdapterOptions) -> HttpCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A model name, tool, tool choice, tool result or image that cannot be sent; all of the
                problems in the messages at once.
        """
        url = self._url(request.model or "")
        secret = keys.resolve(self.provider, options.api_key or self.api_key, KEY_VARIABLES)
        client = self.http_client or options.http_client
        if client is not None:
            check_client(client)
        taken = frozenset(call.id for message in request.messages for call in message.tool_calls)
        return HttpCall(
            provider=self.provider,
            url=url,
            headers=self._headers(secret, options),
            body=dumps(encode(request, options)),
            new_decoder=functools.partial(GeminiDecoder, self.provider, taken),
            classify=functools.partial(classify, self.provider),
            secret=secret,
            client=client,
            max_event_bytes=self.max_event_bytes,
            flush_at_end=True,
        )

    def _url(self, model: str) -> str:
        base_url = self.base_url or os.environ.get("GOOGLE_GEMINI_BASE_URL") or DEFAULT_BASE_URL
        version = self.api_version.strip("/")
        path = f"/{resource_name(model)}:streamGenerateContent"
        # Google's own examples of URLs have the version in them, so a base URL that ends with it is understood as well.
        if version and not urlsplit(base_url.strip()).path.rstrip("/").endswith(f"/{version}"):
            path = f"/{version}{path}"
        url = join_url(base_url, path)
        return f"{url}{'&' if '?' in url else '?'}alt=sse"

    def _headers(self, secret: keys.Secret, options: AdapterOptions) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",  # compression would hold back the small pieces of a stream
            "x-goog-api-key": secret.reveal(),
        }
        if options.request_id is not None:
            headers["x-request-id"] = options.request_id
        headers.update({name.lower(): value for name, value in self.headers.items()})
        return headers

    async def stream(self, prepared: HttpCall, emit: Emit) -> None:
        """Make the call and emit its events."""
        await exchange(prepared, emit)
