"""Responses of the embedding APIs, made from their requests; the same text gets the same vector.

OpenAI and Voyage: POST /embeddings, https://platform.openai.com/docs/api-reference/embeddings and
https://docs.voyageai.com/reference/embeddings-api; Gemini: `batchEmbedContents`, https://ai.google.dev/api/embeddings.
"""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Any

from allm.data.json.text import as_count, as_list, as_object, as_objects
from allm.providers.fake.vectors import made_vector

__all__ = ["encode_embeddings"]


def encode_embeddings(path: str, body: dict[str, Any], dimensions: int) -> dict[str, Any]:
    """The response to the request `body`, in the format of the API that `path` belongs to.

    Args:
        path: The path of the request.
        body: The body of the request; its length and encoding of vectors are respected.
        dimensions: Length of the vectors if the request does not ask for one.
    """
    if path.partition("?")[0].endswith(":batchEmbedContents"):
        return _gemini(as_objects(body.get("requests")), dimensions)
    size = as_count(body.get("dimensions")) or as_count(body.get("output_dimension")) or dimensions
    given = body.get("input")
    texts = [str(text) for text in ([given] if isinstance(given, str) else as_list(given))]
    packed = body.get("encoding_format") == "base64"
    vectors = [made_vector(text, size) for text in texts]
    tokens = sum(len(text) for text in texts)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if packed else vector.tolist()}
            for index, vector in enumerate(vectors)
        ],
        "model": body.get("model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _base64(vector: array[float]) -> str:
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode("ascii")


def _gemini(requests: list[dict[str, Any]], dimensions: int) -> dict[str, Any]:
    embeddings: list[dict[str, Any]] = []
    tokens = 0
    for request in requests:
        parts = as_objects(as_object(request.get("content")).get("parts"))
        text = "".join(str(part.get("text", part)) for part in parts)
        tokens += len(text)
        size = as_count(request.get("outputDimensionality")) or dimensions
        embeddings.append({"values": made_vector(text, size).tolist()})
    return {"embeddings": embeddings, "usageMetadata": {"promptTokenCount": tokens}}
