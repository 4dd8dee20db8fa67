"""An `EmbeddingRequest` as the body of POST /v1/embeddings.

https://docs.voyageai.com/reference/embeddings-api
"""

from __future__ import annotations

import re
from typing import Any

from allm.data.embedding import EmbeddingRequest
from allm.data.problems import Problem, refuse
from allm.runtime.batches import BatchLimits

__all__ = ["embedding_body", "limits_of"]

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
        ValidationError: An input that is no text, or another task type than `query` and `document`.
    """
    refuse(
        [
            Problem(("inputs", index), "unsupported", f"voyage embeds texts only, no {type(item).__name__}")
            for index, item in enumerate(request.inputs)
            if not isinstance(item, str)
        ]
    )
    task = request.task_type.lower() if request.task_type is not None else None
    if task is not None and task not in INPUT_TYPES:
        refuse(
            [Problem(("task_type",), "unsupported", "voyage has no such task; expected 'query', 'document' or None")]
        )
    fields = {
        "model": request.model,
        "input": list(request.inputs),
        "input_type": task,
        "output_dimension": request.dimensions,
        "encoding_format": None if request.encoding_format == "float" else "base64",
        **request.options,
    }
    return {name: value for name, value in fields.items() if value is not None}
