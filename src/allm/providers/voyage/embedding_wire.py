"""POST /v1/embeddings: an `EmbeddingRequest` as its body, and its answer as an `EmbeddingResponse`.

https://docs.voyageai.com/reference/embeddings-api. Multimodal models have an endpoint of their own:
https://docs.voyageai.com/reference/multimodal-embeddings-api. Error answers are `{"detail": "..."}`, with no code
and no type.
"""

from __future__ import annotations

import re
from typing import Any, cast

from allm.adapters import BatchLimits, EmbeddingInput, Problem, embedding_of, refuse, vector_of
from allm.data.embedding import Embedding, EmbeddingRequest, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.image import Image
from allm.data.response import Usage

__all__ = ["TYPECODES", "embedding_body", "embedding_response", "is_multimodal", "limits_of"]

INPUT_TYPES = frozenset({"query", "document"})
MAX_INPUTS = 1000
# Most tokens of a request, by model; the most specific name first.
_MAX_TOKENS = (
    (re.compile(r"voyage-(4|3\.5)-lite"), 1_000_000),
    (re.compile(r"voyage-(4|3\.5|2)$"), 320_000),
)
_MAX_TOKENS_OTHERWISE = 120_000


def limits_of(model: str | None) -> BatchLimits:
    """The most that one request may hold."""
    sizes = (size for pattern, size in _MAX_TOKENS if pattern.match(model or ""))
    return BatchLimits(MAX_INPUTS, next(sizes, _MAX_TOKENS_OTHERWISE))


def embedding_body(request: EmbeddingRequest) -> dict[str, Any]:
    """The body. Base64 is asked for unless the request says otherwise.

    Raises:
        ValidationError: An image for a model of texts, or another task type than `query` and `document`.
    """
    multimodal = is_multimodal(request.model)
    refuse(
        []
        if multimodal
        else [
            Problem(("inputs", index), "unsupported", f"{request.model} embeds texts; voyage-multimodal-3 images too")
            for index, item in enumerate(request.inputs)
            if not isinstance(item, str)
        ]
    )
    task = request.task_type.lower() if request.task_type is not None else None
    if task is not None and task not in INPUT_TYPES:
        refuse([Problem(("task_type",), "unsupported", "voyage has no such task; expected 'query' or 'document'")])
    encoding = None if request.encoding_format == "float" else "base64"
    if multimodal:
        body: dict[str, Any] = {
            "model": request.model,
            "inputs": [{"content": [_content(part) for part in _parts(item)]} for item in request.inputs],
            "input_type": task,
            "output_dimension": request.dimensions,
            "output_encoding": encoding,
            **request.options,
        }
        return {name: value for name, value in body.items() if value is not None}
    fields = {
        "model": request.model,
        "input": list(request.inputs),
        "input_type": task,
        "output_dimension": request.dimensions,
        "encoding_format": encoding,
        **request.options,
    }
    return {name: value for name, value in fields.items() if value is not None}


def is_multimodal(model: str | None) -> bool:
    """Whether the model embeds images, which is asked for at another address."""
    return (model or "").startswith("voyage-multimodal")


def _parts(item: EmbeddingInput) -> tuple[str | Image, ...]:
    return item if isinstance(item, tuple) else (item,)


def _content(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.url is not None:
        return {"type": "image_url", "image_url": part.url}
    return {"type": "image_base64", "image_base64": part.to_data_uri()}


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
        raise AdapterError("expected a list of vectors under 'data'", reason="malformed_response")
    embeddings: list[Embedding] = []
    for position, item in enumerate(items):
        fields: dict[str, Any] = cast("Any", item) if isinstance(item, dict) else {}
        index = fields.get("index")
        vector = vector_of(fields.get("embedding"), typecode)
        embeddings.append(embedding_of(index if type(index) is int else position, vector))
    model, usage = document.get("model"), document.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return EmbeddingResponse(
        embeddings=embeddings,
        usage=Usage(total_tokens=total if type(total) is int else None),
        model=model if isinstance(model, str) else None,
    )
