"""`batchEmbedContents`: an `EmbeddingRequest` as its body, and its answer as an `EmbeddingResponse`.

https://ai.google.dev/api/embeddings and https://ai.google.dev/gemini-api/docs/embeddings. The second generation of
models takes no notice of `taskType`; its documentation puts the task into the text instead, in the words below.
"""

from __future__ import annotations

import re
from typing import Any

from allm.adapters import (
    EmbeddingInput,
    Origin,
    Problem,
    UnusableMediaError,
    as_count,
    as_list,
    as_object,
    embedding_of,
    refuse,
    unit_vector,
    vector_of,
)
from allm.data.embedding import Embedding, EmbeddingRequest, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.providers.gemini.file_parts import FileEncoder

__all__ = ["embedding_body", "embedding_response"]

# Our word: the value of `taskType`, and how the second generation wants to have it said.
_TASKS = {
    "query": ("RETRIEVAL_QUERY", "task: search result | query: "),
    "document": ("RETRIEVAL_DOCUMENT", "title: none | text: "),
    "similarity": ("SEMANTIC_SIMILARITY", "task: sentence similarity | query: "),
    "classification": ("CLASSIFICATION", "task: classification | query: "),
    "clustering": ("CLUSTERING", "task: clustering | query: "),
    "question_answering": ("QUESTION_ANSWERING", "task: question answering | query: "),
    "fact_verification": ("FACT_VERIFICATION", "task: fact checking | query: "),
    "code_retrieval": ("CODE_RETRIEVAL_QUERY", "task: code retrieval | query: "),
}
_BY_NAME = {name: (task, words) for task, words in _TASKS.values() for name in (task, task.lower())} | _TASKS
_SECOND_GENERATION = re.compile(r"models/gemini-embedding-2(?!\d)")


def embedding_body(request: EmbeddingRequest, resource: str) -> dict[str, Any]:
    """The body: one small request for each input. `request.options` go into each of them.

    Args:
        resource: The model's whole name, such as `models/gemini-embedding-001`.

    Raises:
        ValidationError: A task type or an image that Gemini does not take.
    """
    task, words = _task(request.task_type)
    if _SECOND_GENERATION.match(resource):
        task = None
    else:
        words = ""
    fields = {
        "model": resource,
        "taskType": task,
        "outputDimensionality": request.dimensions,
        **request.options,
    }
    common = {name: value for name, value in fields.items() if value is not None}
    images = FileEncoder(Origin("gemini"))
    contents = [_content(index, item, words, images) for index, item in enumerate(request.inputs)]
    return {"requests": [{**common, "content": content} for content in contents]}


def _task(name: str | None) -> tuple[str | None, str]:
    if name is None:
        return None, ""
    if name not in _BY_NAME:
        expected = f"gemini has no such task; expected one of: {', '.join(_TASKS)}"
        refuse([Problem(("task_type",), "unsupported", expected)])
    return _BY_NAME[name]


def _content(index: int, item: EmbeddingInput, words: str, images: FileEncoder) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for piece in item if isinstance(item, tuple) else (item,):
        try:
            parts.append({"text": piece} if isinstance(piece, str) else images.encode(piece))
        except UnusableMediaError as error:
            refuse([Problem(("inputs", index), error.tag, str(error))])
    first = next((part for part in parts if "text" in part), None)
    if first is not None:
        first["text"] = words + first["text"]
    elif words:
        sentence = "this model is told its task in the text, and this input has none: leave task_type out"
        refuse([Problem(("inputs", index), "no_text", sentence)])
    return {"parts": parts}


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
        raise AdapterError("expected a list of vectors under 'embeddings'", reason="malformed_response")
    embeddings: list[Embedding] = []
    for index, item in enumerate(as_list(document["embeddings"])):
        vector = vector_of(as_object(item).get("values"))
        embeddings.append(
            embedding_of(index, unit_vector(vector) if shortened and len(vector) != FULL_SIZE else vector)
        )
    usage = as_object(document.get("usageMetadata"))
    counts = Usage(
        input_tokens=as_count(usage.get("promptTokenCount")), total_tokens=as_count(usage.get("totalTokenCount"))
    )
    return EmbeddingResponse(embeddings=embeddings, usage=counts)
