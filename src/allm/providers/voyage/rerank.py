"""Voyage AI's reranking: POST /v1/rerank (https://docs.voyageai.com/reference/reranker-api)."""

from __future__ import annotations

from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpAdapter,
    HttpCall,
    JsonResponse,
    UnaryAdapter,
    Vendor,
    as_count,
    as_object,
    as_text,
    explains_settings,
    post_json,
    rerank_results,
)
from allm.data.rerank import RerankRequest, RerankResponse
from allm.data.response import Usage
from allm.providers.voyage.embeddings import VOYAGE

__all__ = ["VoyageRerank", "decode_rerank", "encode_rerank"]


def encode_rerank(request: RerankRequest) -> dict[str, Any]:
    """The body; `request.options` win."""
    body = {"model": request.model, "query": request.query, "documents": list(request.documents)}
    return {**body, **({} if request.top_n is None else {"top_k": request.top_n}), **request.options}


def decode_rerank(document: dict[str, Any]) -> RerankResponse:
    """The answer. Its usage is one total, all of it input.

    Raises:
        AdapterError: `malformed_response`: there is no ranking in it.
    """
    total = as_count(as_object(document.get("usage")).get("total_tokens"))
    return RerankResponse(
        results=rerank_results(document.get("data")),
        usage=Usage(input_tokens=total, total_tokens=total),
        model=as_text(document.get("model")),
    )


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class VoyageRerank(HttpAdapter, UnaryAdapter[RerankRequest, RerankResponse]):
    """Voyage AI's reranking. The arguments are those of `VoyageEmbeddings`."""

    @property
    def vendor(self) -> Vendor:
        """Voyage AI."""
        return VOYAGE

    def prepare(self, request: RerankRequest, options: AdapterOptions) -> HttpCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        return self.call(self.url("/rerank", options), encode_rerank(request), options)

    async def send(self, prepared: HttpCall) -> RerankResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> RerankResponse:
            return attrs.evolve(decode_rerank(answer.document), request_id=answer.request_id)

        return await post_json(prepared, decode)
