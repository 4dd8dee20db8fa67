"""Rankings of documents as services send them."""

from __future__ import annotations

from typing import Any

from allm.data.errors import AdapterError
from allm.data.json.text import as_count, as_object
from allm.data.rerank import RerankResult
from allm.data.transcript_parts import as_number

__all__ = ["rerank_results"]


def rerank_results(items: Any) -> list[RerankResult]:
    """The results in a list of objects with `index` and `relevance_score`.

    Raises:
        AdapterError: `malformed_response`: it is anything else.
    """
    if not isinstance(items, list):
        raise AdapterError("expected a list of ranked documents", reason="malformed_response")
    results: list[RerankResult] = []
    for item in items:
        fields = as_object(item)
        index, score = as_count(fields.get("index")), as_number(fields.get("relevance_score"))
        if index is None or score is None:
            raise AdapterError("a ranked document has no index or no score", reason="malformed_response")
        results.append(RerankResult(index=index, score=score))
    return results
