"""The adapter for Voyage AI's embeddings."""

from __future__ import annotations

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchLimits,
    EmbeddingAdapter,
    HttpAdapter,
    HttpCall,
    JsonResponse,
    Vendor,
    explains_settings,
    post_json,
)
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.providers.voyage.embedding_wire import TYPECODES, embedding_body, embedding_response, is_multimodal, limits_of

__all__ = ["VoyageEmbeddings"]

VOYAGE = Vendor(
    name="voyage",
    base_url="https://api.voyageai.com/v1",
    base_url_env="VOYAGE_BASE_URL",
    key_env=("VOYAGE_API_KEY",),
    request_id_header=None,
)


@attrs.frozen
class _Prepared:
    call: HttpCall
    typecode: str


@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class VoyageEmbeddings(HttpAdapter, EmbeddingAdapter):
    """Voyage AI's embeddings.

        engine = allm.Engine(embedding_adapter=VoyageEmbeddings(), embedding_model="voyage-3.5")

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(voyage=...)`, `keys.put`, then VOYAGE_API_KEY.
        base_url: With the version segment; else VOYAGE_BASE_URL, else Voyage itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    @property
    def vendor(self) -> Vendor:
        """Voyage AI."""
        return VOYAGE

    def batch_limits(self, model: str | None) -> BatchLimits:
        """1000 inputs, and as many tokens as the model takes."""
        return limits_of(model)

    def prepare(self, request: EmbeddingRequest, options: AdapterOptions) -> _Prepared:
        """The call for one batch of inputs.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: An image for a model of texts, a task type that Voyage does not know.
        """
        body = embedding_body(request)
        path = "/multimodalembeddings" if is_multimodal(request.model) else "/embeddings"
        call = self.call(self.url(path, options), body, options)
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

        return await post_json(prepared.call, decode)
