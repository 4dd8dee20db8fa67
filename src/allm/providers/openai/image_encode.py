"""An `ImageRequest` as the body of POST /images/generations, /images/edits or /images/variations.

Facts: https://platform.openai.com/docs/api-reference/images. What a family of models takes is a row below, so that a
newer member of it is known as well; a model of no family is sent whatever the request says. GPT Image models answer 400
to `response_format` and always answer base64.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from allm.adapters import Problem, refuse
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.image_request import ImageRequest
from allm.providers.openai.form_encode import streaming_problems
from allm.providers.openai.shared_encode import own_name

__all__ = ["FAMILIES", "Family", "File", "encode_files", "encode_image", "family_of"]

File = tuple[str, tuple[str, bytes, str]]
"""A file of a form: `(field, (file name, content, MIME type))`."""

EVERYWHERE = frozenset({"n", "size", "user", "output_format", "quality", "background", "style", "response_format"})


@attrs.frozen(kw_only=True)
class Family:
    """What models with such a name take.

    Attributes:
        operations: What they can do.
        fields: Which fields of a request they know.
        most_images: Input images of one call.
    """

    name: str
    operations: frozenset[str]
    fields: frozenset[str]
    most_images: int


FAMILIES: tuple[tuple[str, Family], ...] = (
    (
        r"dall-e-2",
        Family(
            name="DALL-E 2",
            operations=frozenset({"generate", "edit", "variation"}),
            fields=frozenset({"n", "size", "response_format", "user"}),
            most_images=1,
        ),
    ),
    (
        r"dall-e-3",
        Family(
            name="DALL-E 3",
            operations=frozenset({"generate"}),
            fields=frozenset({"n", "size", "quality", "style", "response_format", "user"}),
            most_images=0,
        ),
    ),
    (
        r"(chatgpt|gpt)-image",
        Family(
            name="GPT Image",
            operations=frozenset({"generate", "edit"}),
            fields=frozenset({"n", "size", "quality", "background", "output_format", "user"}),
            most_images=16,
        ),
    ),
)
"""Beginnings of names, as regular expressions; the first that fits decides."""

UNKNOWN = Family(
    name="this model", operations=frozenset({"generate", "edit", "variation"}), fields=EVERYWHERE, most_images=16
)
FORMATS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def family_of(model: str | None) -> Family:
    """The row of a model, also of one that a gateway gives (`openai/gpt-image-2`)."""
    name = own_name(model)
    return next((family for pattern, family in FAMILIES if re.match(pattern, name)), UNKNOWN)


def encode_image(request: ImageRequest) -> dict[str, Any]:
    """The fields of the body; `request.options` win. The images are apart: `encode_files`.

    Raises:
        ValidationError: What the model's family does not take; all problems at once.
    """
    family = family_of(request.model)
    given = {name: value for name in sorted(EVERYWHERE) if (value := getattr(request, name)) is not None}
    problems = streaming_problems(request.options)
    if request.operation not in family.operations:
        able = " and ".join(sorted(family.operations))
        sentence = f"{request.model} does not do {request.operation}: {family.name} models do {able}"
        problems.append(Problem(("operation",), "unsupported_operation", sentence))
    for name in given.keys() - family.fields:
        sentence = f"{request.model} does not take it: {family.name} models take {', '.join(sorted(family.fields))}"
        problems.append(Problem((name,), "unsupported_option", sentence))
    if len(request.images) > max(family.most_images, 1):
        sentence = f"{len(request.images)} images; {family.name} models take {family.most_images}"
        problems.append(Problem(("images",), "too_many_images", sentence))
    if request.operation == "variation":
        given = {name: value for name, value in given.items() if name in {"n", "size", "response_format", "user"}}
    refuse(problems)
    body = {"model": request.model, **given}
    if request.prompt is not None:
        body["prompt"] = request.prompt
    return {**body, **request.options}


def encode_files(request: ImageRequest) -> list[File]:
    """The images of an edit or a variation, in their order, and the mask.

    Raises:
        ValidationError: One that cannot be sent; all problems at once.
    """
    problems: list[Problem] = []
    # One image goes under the name that every model and every gateway knows; several need the form with brackets.
    field = "image" if len(request.images) == 1 else "image[]"
    files = [
        file
        for index, image in enumerate(request.images)
        if (file := _file(field, image, f"image-{index + 1}", ("images", index), problems))
    ]
    if request.mask is not None and (file := _file("mask", request.mask, "mask", ("mask",), problems)):
        files.append(file)
    refuse(problems)
    return files


def _file(field: str, image: Image, name: str, path: tuple[str | int, ...], problems: list[Problem]) -> File | None:
    try:
        data = image.to_bytes()
        mime_type = image.resolved_mime_type()
    except ValidationError as error:
        problems.append(Problem(path, error.errors[0][1], str(error)))
        return None
    if mime_type not in FORMATS:
        sentence = f"OpenAI does not edit {mime_type}; convert it to PNG, JPEG or WebP"
        problems.append(Problem(path, "unsupported_image_format", sentence))
        return None
    return field, (f"{name}.{FORMATS[mime_type]}", data, mime_type)
