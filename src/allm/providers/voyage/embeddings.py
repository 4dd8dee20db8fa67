"""The adapter for Voyage AI's embeddings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.http.json_call import HttpPost, JsonResponse, ask
from allm.http.settings import json_body, own_headers, secret_of
from allm.http.transport import check_client, join_url
from allm.providers.voyage.decode import TYPECODES, classify, embedding_response
from allm.providers.voyage.encode import embedding_body, limits_of
from allm.runtime import keys
from allm.runtime.adapters import AdapterOptions
from allm.runtime.batches import BatchLimits

__all__ = ["VoyageEmbeddings"]

DEFAULT_BASE_URL = "https://api.voyageai.com/v1"
KEY_VARIABLES = ("VOYAGE_API_KEY",)


@attrs.frozen
class _Prepared:
    call: HttpPost
    typecode: str


@attrs.frozen(kw_only=True, eq=False)
class VoyageEmbeddings:
    """Voyage AI's embeddings.

        engine = allm.Engine(embedding_adapter=VoyageEmbeddings(), embedding_model="voyage-3.5")

    Args:
        api_key: Else `keys.override(voyage=...)`, `keys.put`, then VOYAGE_API_KEY.
        base_url: With the version segment; else VOYAGE_BASE_URL, else Voyage itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    api_key: keys.Secret | None = attrs.field(default=None, converter=secret_of)
    base_url: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    http_client: Any = attrs.field(default=None, repr=False)

    @property
    def provider(self) -> str:
        """`"voyage"`."""
        return "voyage"

    def batch_limits(self, model: str | None) -> BatchLimits:
        """1000 inputs, and as many tokens as the model takes."""
        return limits_of(model)

    def prepare(self, request: EmbeddingRequest, options: AdapterOptions) -> _Prepared:
        """The call for one batch of inputs.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: An input that is no text, a task type that Voyage does not know.
        """
        body = embedding_body(request)
        secret = keys.resolve(self.provider, options.api_key or self.api_key, KEY_VARIABLES)
        headers = {"content-type": "application/json", "authorization": f"Bearer {secret.reveal()}"}
        base_url = self.base_url
        if base_url is None:
            base_url = os.environ.get("VOYAGE_BASE_URL") or DEFAULT_BASE_URL
        client = self.http_client or options.http_client
        if client is not None:
            check_client(client)
        call = HttpPost(
            provider=self.provider,
            url=join_url(base_url, "/embeddings"),
            headers={**headers, **own_headers(self.headers)},
            body=json_body(body),
            classify=classify,
            secret=secret,
            client=client,
        )
        return _Prepared(call, TYPECODES.get(str(body.get("output_dtype")), "f"))

    async def send(self, prepared: _Prepared) -> EmbeddingResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> EmbeddingResponse:
            response = embedding_response(answer.document, prepared.typecode)
            request_ids = () if answer.request_id is None else (answer.request_id,)
            return attrs.evolve(response, request_ids=request_ids)

        return await ask(prepared.call, decode)
