"""The answer of POST /v1/embeddings as an `EmbeddingResponse`, and error answers as `AdapterError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from allm.data.embedding import Embedding, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.http.error_body import RETRYABLE_STATUS, read_error_body, reason_for_status
from allm.runtime.vectors import vector_of

__all__ = ["TYPECODES", "classify", "embedding_response"]

TYPECODES = {"float": "f", "int8": "b", "binary": "b", "uint8": "B", "ubinary": "B"}
"""What base64 text holds, by the request's `output_dtype`."""


def embedding_response(document: dict[str, Any], typecode: str = "f") -> EmbeddingResponse:
    """The answer. Its usage is one total, all of it input, which the provider does not say.

    Args:
        document: The parsed body.
        typecode: Of the numbers in base64 text, as in `array`.

    Raises:
        AdapterError: `malformed_response`.
    """
    items = document.get("data")
    if not isinstance(items, list):
        raise AdapterError("expected the vectors under 'data', which is no list", reason="malformed_response")
    embeddings: list[Embedding] = []
    for position, item in enumerate(items):
        fields: dict[str, Any] = cast("Any", item) if isinstance(item, dict) else {}
        index = fields.get("index")
        vector = vector_of(fields.get("embedding"), typecode)
        embeddings.append(Embedding(index if type(index) is int else position, vector))
    model, usage = document.get("model"), document.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return EmbeddingResponse(
        embeddings=embeddings,
        usage=Usage(total_tokens=total if type(total) is int else None),
        model=model if isinstance(model, str) else None,
    )


def classify(status: int, _headers: Mapping[str, str], body: Any) -> AdapterError:
    """The error of an answer with an error status: `{"detail": "..."}`, with no code and no type."""
    envelope = read_error_body(body)
    return AdapterError(
        envelope.message,
        reason=reason_for_status(status),
        provider="voyage",
        status=status,
        retryable=status in RETRYABLE_STATUS,
        provider_code=envelope.code or envelope.type,
    )
