"""Reranking: documents in the order of how well they answer a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.problems import Problem, mapping_field, shown, wrong_type
from allm.data.response import Usage

__all__ = ["RerankRequest", "RerankResponse", "RerankResult", "rerank_problems"]


def _documents(value: Any) -> Any:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        return value
    return tuple(value)


@frozen
class RerankRequest:
    """A request to rerank documents.

    Attributes:
        query: What is looked for.
        documents: Texts.
        top_n: How many of the best are wanted; None: all.
        options: Fields merged over the provider's request body; they win over all others.
    """

    query: str
    documents: tuple[str, ...] = attrs.field(
        converter=_documents,
        repr=lambda value: f"<{len(value)} documents>" if isinstance(value, tuple) else repr(value),
    )
    top_n: int | None = attrs.field(default=None, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


@frozen(kw_only=True)
class RerankResult:
    """One document of the answer.

    Attributes:
        index: Its position in the request, from 0.
        score: How relevant it is, more being better; with most models from 0 to 1.
        document: Its text.
    """

    index: int
    score: float
    document: str = ""


def _best_first(results: Iterable[RerankResult]) -> tuple[RerankResult, ...]:
    return tuple(sorted(results, key=attrgetter("score"), reverse=True))


@frozen(kw_only=True)
class RerankResponse:
    """The documents, the most relevant first.

    Attributes:
        results: As many as were asked for.
        usage: Tokens, or the provider's own units in `usage.extra`, such as `search_units` (Cohere).
        model: The model that responded, as the provider names it.
        id, request_id: The provider's ids of the response and of the HTTP request.
    """

    results: tuple[RerankResult, ...] = attrs.field(default=(), converter=_best_first)
    usage: Usage = attrs.field(factory=Usage)
    model: str | None = None
    id: str | None = None
    request_id: str | None = None
    metadata: dict[str, Any] = mapping_field()

    @property
    def documents(self) -> tuple[str, ...]:
        """The texts, the most relevant first."""
        return tuple(result.document for result in self.results)


def rerank_problems(request: RerankRequest) -> list[Problem]:
    """The problems of a rerank request."""
    query: Any = request.query
    documents: Any = request.documents
    problems: list[Problem] = []
    if not isinstance(query, str):
        problems.append(wrong_type(("query",), query, "str"))
    elif not query.strip():
        problems.append(Problem(("query",), "empty", "there is nothing to look for"))
    if not isinstance(documents, tuple):
        problems.append(wrong_type(("documents",), documents, "an iterable of texts"))
    elif not documents:
        problems.append(Problem(("documents",), "empty", "there is nothing to rank"))
    else:
        problems += [
            wrong_type(("documents", index), item, "str")
            for index, item in enumerate(documents)
            if not isinstance(item, str)
        ]
    if request.top_n is not None and not (type(request.top_n) is int and request.top_n > 0):
        sentence = f"is {shown(request.top_n)}; expected a whole number above 0"
        problems.append(Problem(("top_n",), "must_be_positive", sentence))
    if request.model is not None and not isinstance(request.model, str):
        problems.append(wrong_type(("model",), request.model, "str"))
    return problems
