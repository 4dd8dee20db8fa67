"""The answer of `batchEmbedContents` as an `EmbeddingResponse`."""

from __future__ import annotations

from typing import Any

from allm.data.embedding import Embedding, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.json.wire import as_count, as_list, as_object
from allm.data.response import Usage
from allm.runtime.vectors import unit_vector, vector_of

__all__ = ["embedding_response"]

FULL_SIZE = 3072
"""Length of the vectors when no other one is asked for; these come normalised."""


def embedding_response(document: dict[str, Any], *, shortened: bool) -> EmbeddingResponse:
    """The answer. Only gemini-embedding-2 reports its usage, and no model its name.

    Args:
        document: The parsed body.
        shortened: The request asked for a number of dimensions. A vector that is cut down to it is shorter than 1, and
            is made as long again as whole ones come (https://ai.google.dev/gemini-api/docs/embeddings, on quality for
            smaller dimensions).

    Raises:
        AdapterError: `malformed_response`.
    """
    if not isinstance(document.get("embeddings"), list):
        raise AdapterError("expected the vectors under 'embeddings', which is no list", reason="malformed_response")
    embeddings: list[Embedding] = []
    for index, item in enumerate(as_list(document["embeddings"])):
        vector = vector_of(as_object(item).get("values"))
        embeddings.append(Embedding(index, unit_vector(vector) if shortened and len(vector) != FULL_SIZE else vector))
    usage = as_object(document.get("usageMetadata"))
    counts = Usage(
        input_tokens=as_count(usage.get("promptTokenCount")), total_tokens=as_count(usage.get("totalTokenCount"))
    )
    return EmbeddingResponse(embeddings=embeddings, usage=counts)
