"""Reranking in Cohere's way, which Jina and OpenRouter have too: POST /v2/rerank.

Facts: https://docs.cohere.com/reference/rerank. Cohere counts searches, Jina tokens (https://jina.ai/reranker), and
OpenRouter says what it charged (https://openrouter.ai/docs/api/api-reference/rerank/create-rerank).
"""

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
    as_number,
    as_object,
    as_text,
    explains_settings,
    post_json,
    rerank_results,
)
from allm.data.errors import EngineError
from allm.data.rerank import RerankRequest, RerankResponse
from allm.data.response import Usage
from allm.providers.cohere.connection import COHERE

__all__ = ["CohereRerank", "decode_rerank", "encode_rerank"]

SERVICES = {
    "cohere": COHERE,
    "jina": Vendor(
        name="jina", base_url="https://api.jina.ai/v1", base_url_env="JINA_BASE_URL", key_env=("JINA_API_KEY",)
    ),
    "openrouter": Vendor(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        base_url_env="OPENROUTER_BASE_URL",
        key_env=("OPENROUTER_API_KEY",),
    ),
}


def encode_rerank(request: RerankRequest) -> dict[str, Any]:
    """The body; `request.options` win."""
    body = {"model": request.model, "query": request.query, "documents": list(request.documents)}
    return {**body, **({} if request.top_n is None else {"top_n": request.top_n}), **request.options}


def decode_rerank(document: dict[str, Any], *, model: str | None) -> RerankResponse:
    """The answer.

    Raises:
        AdapterError: `malformed_response`: there is no ranking in it.
    """
    meta, usage = as_object(document.get("meta")), as_object(document.get("usage"))
    billed = as_object(meta.get("billed_units"))
    tokens = as_object(meta.get("tokens"))
    total = as_count(usage.get("total_tokens"))
    units = as_number(billed.get("search_units", usage.get("search_units")))
    given = as_count(usage.get("prompt_tokens", tokens.get("input_tokens")))
    return RerankResponse(
        results=rerank_results(document.get("results")),
        usage=Usage(
            input_tokens=total if given is None else given,
            total_tokens=total,
            total_cost=as_number(usage.get("cost")),
            extra={} if units is None else {"search_units": units},
        ),
        model=as_text(document.get("model")) or model,
        id=as_text(document.get("id")),
    )


def _known(_adapter: Any, _attribute: Any, preset: Any) -> None:
    if preset not in SERVICES:
        raise EngineError(
            f"no service {preset!r} that reranks as Cohere does; expected one of: {', '.join(SERVICES)}",
            reason="unknown_provider",
        )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class CohereRerank(HttpAdapter, UnaryAdapter[RerankRequest, RerankResponse]):
    """Reranking by Cohere, and by services that do it in the same way.

    Args:
        preset: `cohere`, `jina` or `openrouter`.
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(cohere=...)`, `keys.put`, then COHERE_API_KEY, then CO_API_KEY; with a preset its name and
            variable.
        base_url: With the version segment; else COHERE_V2_BASE_URL, or the preset's variable, else the service itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.

    Raises:
        EngineError: `unknown_provider`: no such preset.
    """

    preset: str = attrs.field(default="cohere", validator=_known)

    @property
    def vendor(self) -> Vendor:
        """The service."""
        return SERVICES[self.preset]

    def prepare(self, request: RerankRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        return _Prepared(self.call(self.url("/rerank", options), encode_rerank(request), options), request.model)

    async def send(self, prepared: _Prepared) -> RerankResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> RerankResponse:
            return attrs.evolve(decode_rerank(answer.document, model=prepared.model), request_id=answer.request_id)

        return await post_json(prepared.call, decode)
