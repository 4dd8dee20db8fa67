"""The adapter for embeddings: OpenAI's, and those of the services that speak its wire format."""

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
from allm.providers.openai.connection import Connection, row_at
from allm.providers.openai.embedding_wire import embedding_body, embedding_response, limits_of

__all__ = ["OpenAIEmbeddings"]


@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAIEmbeddings(Connection, EmbeddingAdapter):
    """OpenAI's embeddings, or those of a service that speaks the same wire format.

        engine = allm.Engine(embedding_adapter=OpenAIEmbeddings(), embedding_model="text-embedding-3-small")

    Args: those of `OpenAI`, but for the endpoint.
    """

    def batch_limits(self, _model: str | None) -> BatchLimits:
        """2048 inputs and 300,000 tokens at OpenAI."""
        return limits_of(self.provider)

    def prepare(self, request: EmbeddingRequest, options: AdapterOptions) -> HttpCall:
        """The call for one batch of inputs.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: An input that is not a text, a task type.
        """
        row = row_at(self.row, self.find_base_url(options, model=request.model))
        body = embedding_body(request, row)
        return self.post("/embeddings", body, options, model=request.model)

    async def send(self, prepared: HttpCall) -> EmbeddingResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared, _decode)


def _decode(answer: JsonResponse) -> EmbeddingResponse:
    request_ids = () if answer.request_id is None else (answer.request_id,)
    return attrs.evolve(embedding_response(answer.document), request_ids=request_ids)
