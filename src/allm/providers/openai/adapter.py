"""The OpenAI adapter: finds the key and the URL, builds the call, hands it to the common HTTP path."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, Literal, final

import attrs

from allm.data.jsontext import dumps
from allm.data.request import Request
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.chat_encode import encode
from allm.providers.openai.errors import classify
from allm.runtime import keys
from allm.runtime.exchange import HttpCall, exchange
from allm.runtime.ports import AdapterOptions, Emit
from allm.runtime.sse import MAX_EVENT_BYTES
from allm.runtime.transport import check_client, join_url

__all__ = ["OpenAI"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"


def _secret(value: str | keys.Secret | None) -> keys.Secret | None:
    return keys.Secret(value) if isinstance(value, str) else value


@final
@attrs.frozen(kw_only=True, eq=False)
class OpenAI:
    """OpenAI, and every service that speaks its wire format at another `base_url`.

    Args:
        api_key: Else `keys.override(openai=...)`, `keys.put`, then OPENAI_API_KEY.
        base_url: With the version segment, as the vendor's SDK takes it; else OPENAI_BASE_URL, else OpenAI itself.
            A query (Azure's `?api-version=...`) is kept.
        endpoint: Which API to use.
        organization, project: Sent as OpenAI-Organization and OpenAI-Project.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
        max_event_bytes: Largest server-sent event accepted, in bytes.
    """

    api_key: keys.Secret | None = attrs.field(default=None, converter=_secret)
    base_url: str | None = None
    endpoint: Literal["auto", "chat_completions"] = "auto"
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    http_client: Any = attrs.field(default=None, repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES

    @property
    def provider(self) -> str:
        """`"openai"`."""
        return "openai"

    def prepare(self, request: Request, options: AdapterOptions) -> HttpCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A tool choice or image that cannot be sent.
        """
        base_url = self.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        url = join_url(base_url, "/chat/completions")
        secret = keys.resolve(self.provider, options.api_key or self.api_key, ("OPENAI_API_KEY",))
        client = self.http_client or options.http_client
        if client is not None:
            check_client(client)
        return HttpCall(
            provider=self.provider,
            url=url,
            headers=self._headers(secret, options),
            body=dumps(encode(request, options)),
            new_decoder=functools.partial(ChatDecoder, self.provider),
            classify=functools.partial(classify, self.provider),
            secret=secret,
            client=client,
            max_event_bytes=self.max_event_bytes,
        )

    def _headers(self, secret: keys.Secret, options: AdapterOptions) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",  # compression would hold back the small pieces of a stream
            "authorization": f"Bearer {secret.reveal()}",
        }
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
