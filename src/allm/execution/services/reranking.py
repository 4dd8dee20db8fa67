"""`rerank`: documents in the order of how well they answer a query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

import attrs

from allm.data.errors import AdapterError
from allm.data.rerank import RerankRequest, RerankResponse
from allm.execution.services.service import Service, UnaryOptions
from allm.execution.services.unary import ask, resolve_unary
from allm.runtime.costs import load_prices
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.runtime.service_costs import embedding_usage

__all__ = ["rerank"]


def _check_response(request: RerankRequest, response: RerankResponse, provider: str) -> None:
    """Reject a response that names documents which were not sent, or one twice: the caller would take a wrong one."""
    places = [result.index for result in response.results]
    known = range(len(request.documents))
    if len(set(places)) != len(places) or any(place not in known for place in places) or not places:
        raise AdapterError(
            f"{provider} ranked the documents {places}; expected each of 0 to {len(known) - 1} once at most",
            reason="malformed_response",
            provider=provider,
        )


RERANK: Service[RerankRequest, RerankResponse] = Service(
    name="rerank",
    noun="reranking",
    span="rerank",
    request_type=RerankRequest,
    check_response=_check_response,
    priced=lambda provider, request, response: attrs.evolve(
        response, usage=embedding_usage(provider, response.model or request.model, response.usage)
    ),
    facts=lambda request, response: {
        "inputs": len(request.documents),
        "usage": response.usage,
        "response_model": response.model,
    },
)


async def rerank(
    engine: Engine,
    query: str | RerankRequest,
    documents: Iterable[str] = (),
    *,
    top_n: int | None = None,
    **options: Unpack[UnaryOptions],
) -> RerankResponse:
    """Put documents in the order of how well they answer a query.

        found = await allm.rerank(engine, "What is Trio?", texts, top_n=3)
        for result in found.results:
            print(result.score, texts[result.index])

    Args:
        engine: The engine, with a `rerank_adapter` and a `rerank_model`.
        query: What is looked for, or a whole `RerankRequest`.
        documents: Texts; they are sent in one request.
        top_n: How many of the best are wanted; None: all.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(RERANK, engine, options)
    given = query if isinstance(query, RerankRequest) else RerankRequest(query, documents)
    request = call.request_for(given if top_n is None else attrs.evolve(given, top_n=top_n))
    load_prices(call.adapter.provider)
    response = await ask(call, request)
    texts = request.documents
    results = [attrs.evolve(result, document=texts[result.index]) for result in response.results]
    if request.top_n is not None:  # whoever ranks may not know the field
        results = sorted(results, key=lambda result: result.score, reverse=True)[: request.top_n]
    return attrs.evolve(RERANK.priced(call.adapter.provider, request, response), results=results)
