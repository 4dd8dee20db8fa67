"""POST /moderations: a `ModerationRequest` as its body, and its answer as a `ModerationResponse`.

https://platform.openai.com/docs/api-reference/moderations/create. Answers to requests that are too large add what that
page leaves out: "Number of images (2) exceeds maximum of 1" (`too_many_images`), and at most 32 texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from allm.adapters import Problem, as_list, as_object, as_objects, as_text, refuse
from allm.data.errors import AdapterError, ValidationError
from allm.data.image import Image
from allm.data.moderation import ModerationRequest, ModerationResponse, ModerationResult

__all__ = ["MAX_INPUTS", "moderation_body", "moderation_response"]

MAX_INPUTS = 32
MAX_IMAGES = 1


def moderation_body(request: ModerationRequest, *, provider: str, max_inputs: int) -> dict[str, Any]:
    """The body: a list of texts, or of typed objects as soon as there is an image.

    Raises:
        ValidationError: More than fits into one request, an image that the model does not see or that cannot be sent.
    """
    refuse([*_too_much(request, max_inputs), *_unseen(request, provider)])
    with_images = request.has_images
    inputs = [_object(index, item) if with_images else item for index, item in enumerate(request.inputs)]
    body: dict[str, Any] = {"input": inputs}
    if request.model is not None:
        body["model"] = request.model
    return body | request.options


def _too_much(request: ModerationRequest, max_inputs: int) -> Iterator[Problem]:
    count = len(request.inputs)
    if count > max_inputs:
        sentence = f"{count} inputs, and one request takes {max_inputs}: make several calls, or raise max_inputs="
        yield Problem(("inputs",), "too_many", sentence)
    images = [index for index, item in enumerate(request.inputs) if isinstance(item, Image)]
    if len(images) > MAX_IMAGES:
        sentence = f"{len(images)} images, and one request takes {MAX_IMAGES}: make several calls"
        yield Problem(("inputs", images[MAX_IMAGES]), "too_many_images", sentence)


def _unseen(request: ModerationRequest, provider: str) -> Iterator[Problem]:
    texts_only = provider != "openai" or (request.model or "").startswith("text-moderation")
    if texts_only and request.has_images:
        name = request.model or provider
        yield Problem(("inputs",), "unsupported", f"{name} judges texts only; omni-moderation-latest sees images")


def _object(index: int, item: str | Image) -> dict[str, Any]:
    if isinstance(item, str):
        return {"type": "text", "text": item}
    try:
        url = item.url or item.to_data_uri()
    except ValidationError as error:
        problem = Problem(("inputs", index), error.errors[0][1], str(error))
        raise ValidationError([problem], reason="invalid_request") from error
    return {"type": "image_url", "image_url": {"url": url}}


def moderation_response(document: dict[str, Any]) -> ModerationResponse:
    """The answer. A category that the model does not judge (null) is left out.

    Raises:
        AdapterError: `malformed_response`.
    """
    if not isinstance(document.get("results"), list):
        raise AdapterError("expected a list of verdicts under 'results'", reason="malformed_response")
    return ModerationResponse(
        results=[_result(item) for item in as_objects(document["results"])],
        model=as_text(document.get("model")),
        id=as_text(document.get("id")),
    )


def _result(item: dict[str, Any]) -> ModerationResult:
    flags = as_object(item.get("categories"))
    categories = {name: value for name, value in flags.items() if isinstance(value, bool)}
    if not categories:
        raise AdapterError("a verdict without categories", reason="malformed_response")
    scores = as_object(item.get("category_scores"))
    types = as_object(item.get("category_applied_input_types"))
    flagged = item.get("flagged")
    return ModerationResult(
        # Mistral has no word for the whole.
        flagged=flagged if isinstance(flagged, bool) else any(categories.values()),
        categories=categories,
        scores={name: float(value) for name, value in scores.items() if isinstance(value, int | float)},
        applied_input_types={name: [str(kind) for kind in as_list(value)] for name, value in types.items()},
    )
