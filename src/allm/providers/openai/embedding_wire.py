"""POST /embeddings: an `EmbeddingRequest` as its body, and its answer as an `EmbeddingResponse`.

https://platform.openai.com/docs/api-reference/embeddings/create and, for the other services, their own references.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import (
    BatchLimits,
    Problem,
    as_count,
    as_object,
    as_objects,
    as_text,
    embedding_of,
    refuse,
    vector_of,
)
from allm.data.embedding import Embedding, EmbeddingRequest, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.providers.openai.presets import Preset

__all__ = ["embedding_body", "embedding_response", "limits_of"]

# What tells the two sides of a search apart elsewhere. These models embed both alike, so leaving it out is right.
RETRIEVAL = frozenset({"query", "document"})

DIMENSIONS = {"mistral": "output_dimension"}
"""Other names of the field `dimensions`. https://docs.mistral.ai/api/endpoint/embeddings"""

LIMITS = {
    "openai": BatchLimits(2048, 300_000),
    "azure": BatchLimits(2048, 300_000),
    "mistral": BatchLimits(512, 16_384),  # "Too many inputs in request", "Too many tokens in batch. Max is 16384"
}
OTHER_LIMITS = BatchLimits(256, 300_000)
"""Where nothing is documented, as for local servers: small enough for one request to end in good time."""


def limits_of(provider: str) -> BatchLimits:
    """The most that one request may hold."""
    return LIMITS.get(provider, OTHER_LIMITS)


def embedding_body(request: EmbeddingRequest, row: Preset) -> dict[str, Any]:
    """The body. Base64 is asked for where the service is known to take it, unless the request says otherwise.

    Raises:
        ValidationError: An input that is not a text, or a task type that these models do not know.
    """
    provider = row.name
    refuse(
        [
            Problem(("inputs", index), "unsupported", f"{provider} embeds texts only, not {type(item).__name__}")
            for index, item in enumerate(request.inputs)
            if not isinstance(item, str)
        ]
    )
    if request.task_type is not None and request.task_type.lower() not in RETRIEVAL:
        expected = f"{provider} has no such task; expected 'query' or 'document'"
        refuse([Problem(("task_type",), "unsupported", expected)])
    fields = {
        "model": request.model,
        "input": list(request.inputs),
        "encoding_format": request.encoding_format or ("base64" if row.base64_embeddings else None),
        DIMENSIONS.get(provider, "dimensions"): request.dimensions,
        "user": request.user,
    }
    return {name: value for name, value in fields.items() if value is not None} | request.options


def embedding_response(document: dict[str, Any]) -> EmbeddingResponse:
    """The answer; its vectors may be lists or base64 text, whatever was asked for.

    Raises:
        AdapterError: `malformed_response`.
    """
    if not isinstance(document.get("data"), list):
        raise AdapterError("expected a list of vectors under 'data'", reason="malformed_response")
    embeddings: list[Embedding] = []
    for position, item in enumerate(as_objects(document["data"])):
        index = as_count(item.get("index"))
        embeddings.append(embedding_of(position if index is None else index, vector_of(item.get("embedding"))))
    usage = as_object(document.get("usage"))
    counts = Usage(input_tokens=as_count(usage.get("prompt_tokens")), total_tokens=as_count(usage.get("total_tokens")))
    return EmbeddingResponse(embeddings=embeddings, usage=counts, model=as_text(document.get("model")))
