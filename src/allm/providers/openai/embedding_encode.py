"""An `EmbeddingRequest` as the body of POST /embeddings.

https://platform.openai.com/docs/api-reference/embeddings/create and, for the other services, their own references.
"""

from __future__ import annotations

from typing import Any

from allm.data.embedding import EmbeddingRequest
from allm.data.problems import Problem, refuse
from allm.runtime.batches import BatchLimits

__all__ = ["embedding_body", "limits_of"]

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


def embedding_body(request: EmbeddingRequest, provider: str) -> dict[str, Any]:
    """The body. Base64 is asked for unless the request says otherwise; a server that does not know it sends lists.

    Raises:
        ValidationError: An input that is no text, or a task type that these models have no notion of.
    """
    refuse(
        [
            Problem(("inputs", index), "unsupported", f"{provider} embeds texts only, no {type(item).__name__}")
            for index, item in enumerate(request.inputs)
            if not isinstance(item, str)
        ]
    )
    if request.task_type is not None and request.task_type.lower() not in RETRIEVAL:
        expected = f"{provider} has no such task; expected 'query', 'document' or None"
        refuse([Problem(("task_type",), "unsupported", expected)])
    fields = {
        "model": request.model,
        "input": list(request.inputs),
        "encoding_format": request.encoding_format or "base64",
        DIMENSIONS.get(provider, "dimensions"): request.dimensions,
        "user": request.user,
    }
    return {name: value for name, value in fields.items() if value is not None} | request.options
