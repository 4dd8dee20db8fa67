"""The answer of POST /embeddings as an `EmbeddingResponse`."""

from __future__ import annotations

from typing import Any

from allm.data.embedding import Embedding, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.json.wire import as_count, as_object, as_objects, as_text
from allm.data.response import Usage
from allm.runtime.vectors import vector_of

__all__ = ["embedding_response"]


def embedding_response(document: dict[str, Any]) -> EmbeddingResponse:
    """The answer; its vectors may be lists or base64 text, whatever was asked for.

    Raises:
        AdapterError: `malformed_response`.
    """
    if not isinstance(document.get("data"), list):
        raise AdapterError("expected the vectors under 'data', which is no list", reason="malformed_response")
    embeddings: list[Embedding] = []
    for position, item in enumerate(as_objects(document["data"])):
        index = as_count(item.get("index"))
        embeddings.append(Embedding(position if index is None else index, vector_of(item.get("embedding"))))
    usage = as_object(document.get("usage"))
    counts = Usage(input_tokens=as_count(usage.get("prompt_tokens")), total_tokens=as_count(usage.get("total_tokens")))
    return EmbeddingResponse(embeddings=embeddings, usage=counts, model=as_text(document.get("model")))
