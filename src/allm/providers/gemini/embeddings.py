"""The adapter for Gemini's embeddings."""

from __future__ import annotations

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchLimits,
    EmbeddingAdapter,
    HttpCall,
    JsonResponse,
    explains_settings,
    post_json,
)
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.providers.gemini.adapter import Connection, resource_name
from allm.providers.gemini.embedding_wire import embedding_body, embedding_response

__all__ = ["GeminiEmbeddings"]

LIMITS = BatchLimits(100)
"""https://ai.google.dev/api/embeddings: "at most 100 requests can be in one batch"."""


@attrs.frozen
class _Prepared:
    call: HttpCall
    shortened: bool


@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class GeminiEmbeddings(Connection, EmbeddingAdapter):
    """Gemini's embeddings: texts, and with gemini-embedding-2 images.

        engine = allm.Engine(embedding_adapter=GeminiEmbeddings(), embedding_model="gemini-embedding-001")

    Args: those of `Gemini`.
    """

    def batch_limits(self, _model: str | None) -> BatchLimits:
        """100 inputs."""
        return LIMITS

    def prepare(self, request: EmbeddingRequest, options: AdapterOptions) -> _Prepared:
        """The call for one batch of inputs.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: A model, a task type or an image that Gemini does not take.
        """
        model = request.model or ""
        body = embedding_body(request, resource_name(model))
        call = self.post(model, "batchEmbedContents", body, options)
        return _Prepared(call, request.dimensions is not None)

    async def send(self, prepared: _Prepared) -> EmbeddingResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> EmbeddingResponse:
            response = embedding_response(answer.document, shortened=prepared.shortened)
            request_ids = () if answer.request_id is None else (answer.request_id,)
            return attrs.evolve(response, request_ids=request_ids)

        return await post_json(prepared.call, decode)
