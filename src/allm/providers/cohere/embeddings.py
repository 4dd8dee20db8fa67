"""Cohere's embeddings of texts and images: POST /v2/embed.

Facts: https://docs.cohere.com/reference/embed, and `EmbedInput` of Cohere's own SDK. What the embeddings are for has to
be said, and an input may hold texts and images together. The compatible API, which `OpenAIEmbeddings(preset="cohere")`
asks, takes texts alone.
"""

from __future__ import annotations

from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    BatchLimits,
    EmbeddingAdapter,
    EmbeddingInput,
    HttpCall,
    JsonResponse,
    Problem,
    as_count,
    as_list,
    as_object,
    as_text,
    embedding_of,
    explains_settings,
    post_json,
    refuse,
    vector_of,
)
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.data.image import Image
from allm.data.response import Usage
from allm.providers.cohere.connection import Connection

__all__ = ["CohereEmbeddings", "decode_embeddings", "encode_embeddings"]

LIMITS = BatchLimits(96)
"""Most inputs of a request."""
_TASKS = {"query": "search_query", "document": "search_document"}
_OWN_TASKS = frozenset({*_TASKS.values(), "classification", "clustering"})


def encode_embeddings(request: EmbeddingRequest) -> dict[str, Any]:
    """The body; `request.options` win.

    Raises:
        ValidationError: No task type, or one that Cohere does not know.
    """
    given = request.task_type
    task = None if given is None else _TASKS.get(given.lower(), given.lower())
    if task not in _OWN_TASKS and "input_type" not in request.options:
        expected = ", ".join(sorted({*_TASKS, *_OWN_TASKS}))
        said = "is missing" if given is None else f"is {given!r}"
        sentence = f"{said}, and cohere has to be told what the embeddings are for; expected one of {expected}"
        refuse([Problem(("task_type",), "missing" if given is None else "unsupported", sentence)])
    body = {
        "model": request.model,
        "inputs": [{"content": [_content(part) for part in _parts(item)]} for item in request.inputs],
        "input_type": task,
        "embedding_types": ["float"],
        "output_dimension": request.dimensions,
        **request.options,
    }
    return {name: value for name, value in body.items() if value is not None}


def _parts(item: EmbeddingInput) -> tuple[str | Image, ...]:
    return item if isinstance(item, tuple) else (item,)


def _content(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.url or part.to_data_uri()}}


def decode_embeddings(document: dict[str, Any], *, model: str | None) -> EmbeddingResponse:
    """The answer.

    Raises:
        AdapterError: `malformed_response`: there are no vectors in it.
    """
    vectors = as_object(document.get("embeddings")).get("float")
    if not isinstance(vectors, list):
        raise AdapterError("expected a list of vectors under 'embeddings', 'float'", reason="malformed_response")
    billed = as_object(as_object(document.get("meta")).get("billed_units"))
    counts = {name: as_count(billed.get(name)) for name in ("input_tokens", "image_tokens", "images")}
    texts, images = counts["input_tokens"], counts["image_tokens"]
    total = None if texts is None and images is None else (texts or 0) + (images or 0)
    own = {"input_image_tokens": images, "images": counts["images"]}
    return EmbeddingResponse(
        embeddings=[embedding_of(index, vector_of(vector)) for index, vector in enumerate(as_list(vectors))],
        usage=Usage(
            input_tokens=total,
            total_tokens=total,
            extra={name: count for name, count in own.items() if count is not None},
        ),
        model=as_text(document.get("model")) or model,
    )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class CohereEmbeddings(Connection, EmbeddingAdapter):
    """Cohere's embeddings: texts, and with embed-v4.0 images, alone and together.

        engine = allm.Engine(embedding_adapter=CohereEmbeddings(), embedding_model="embed-v4.0")
        found = await allm.embed(engine, ["a fox", allm.Image.from_file("fox.png")], task_type="document")

    The arguments are those of `CohereTranscription`. `task_type` is `query`, `document`, `classification` or
    `clustering`, and has to be given.
    """

    def batch_limits(self, _model: str | None) -> BatchLimits:
        """96 inputs."""
        return LIMITS

    def prepare(self, request: EmbeddingRequest, options: AdapterOptions) -> _Prepared:
        """The call for one batch of inputs.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: No task type, or one that Cohere does not know.
        """
        return _Prepared(self.call(self.url("/embed", options), encode_embeddings(request), options), request.model)

    async def send(self, prepared: _Prepared) -> EmbeddingResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> EmbeddingResponse:
            response = decode_embeddings(answer.document, model=prepared.model)
            request_ids = () if answer.request_id is None else (answer.request_id,)
            return attrs.evolve(response, request_ids=request_ids)

        return await post_json(prepared.call, decode)
