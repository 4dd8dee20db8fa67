"""What is asked of an image model, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypedDict, Unpack, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.image import Image
from allm.data.problems import Problem, check_names, mapping_field, shown, wrong_type

__all__ = [
    "ImageOperation",
    "ImageRequest",
    "ImageRequestFields",
    "ImageResponse",
    "ImageUsage",
    "image_problems",
    "image_request",
]

ImageOperation = Literal["generate", "edit", "variation"]

SIZE = re.compile(r"auto|[1-9]\d{0,4}x[1-9]\d{0,4}")
WORDS = ("quality", "style", "background", "output_format", "user", "model")


def _size(value: Any) -> Any:
    match value:
        case (int(width), int(height)):
            return f"{width}x{height}"
        case _:
            return value


def _images(value: Any) -> Any:
    if isinstance(value, Image):
        return (value,)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping) else value


@frozen
class ImageRequest:
    """One call of an image model. What the model does not take is refused, not dropped.

    Attributes:
        prompt: What to draw or to change; a variation has none.
        operation: `generate`, `edit` (of `images`) or `variation` (of one image).
        n: How many images; None is one.
        size: `"1024x1024"`, `(width, height)` in pixels, or `"auto"`.
        quality, style, background, output_format: A provider's own words.
        response_format: `url` or `b64_json`, for the models that can do either.
        images: What to edit, all of which are sent.
        mask: Its transparent parts are where the first image may change.
        user: An id of your end user, for the provider's abuse detection (OpenAI).
        options: Goes into the provider's request as it is.
        metadata: Your own data; the response has it too.
    """

    prompt: str | None = None
    operation: ImageOperation = attrs.field(default="generate", kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    n: int | None = attrs.field(default=None, kw_only=True)
    size: str | None = attrs.field(default=None, kw_only=True, converter=_size)
    quality: str | None = attrs.field(default=None, kw_only=True)
    style: str | None = attrs.field(default=None, kw_only=True)
    background: str | None = attrs.field(default=None, kw_only=True)
    output_format: str | None = attrs.field(default=None, kw_only=True)
    response_format: Literal["url", "b64_json"] | None = attrs.field(default=None, kw_only=True)
    user: str | None = attrs.field(default=None, kw_only=True)
    images: tuple[Image, ...] = attrs.field(default=(), kw_only=True, converter=_images)
    mask: Image | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


class ImageRequestFields(TypedDict, total=False):
    """The fields of an `ImageRequest` but its prompt."""

    operation: ImageOperation
    model: str | None
    n: int | None
    size: str | tuple[int, int] | None
    quality: str | None
    style: str | None
    background: str | None
    output_format: str | None
    response_format: Literal["url", "b64_json"] | None
    user: str | None
    images: Image | Iterable[Image]
    mask: Image | None
    options: dict[str, Any]
    metadata: dict[str, Any]


def image_request(prompt: str | None = None, **fields: Unpack[ImageRequestFields]) -> ImageRequest:
    """An `ImageRequest`: `allm.image_request("a red fox", size="1024x1024", n=2)`.

    Raises:
        OptionError: An unknown name (suggests the nearest one); it is a `TypeError`.
    """
    check_names(ImageRequest, fields)
    return ImageRequest(prompt, **fields)


@frozen(kw_only=True)
class ImageUsage:
    """What an image call used. None means not reported.

    Attributes:
        images: How many images came.
        input_tokens, output_tokens, total_tokens: For models that count tokens.
        input_image_tokens, output_image_tokens: The parts of them that are images.
        total_cost: US dollars for the call, where the model's prices are known.
        extra: Counts of one provider only, under its own names.
    """

    images: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_image_tokens: int | None = None
    output_image_tokens: int | None = None
    total_cost: float | None = None
    extra: dict[str, Any] = mapping_field()


@frozen(kw_only=True)
class ImageResponse:
    """The images, and what else the provider said.

    Attributes:
        images: In the provider's order; one given by URL is not fetched.
        text: What the model said beside them (Gemini).
        id, request_id: The provider's ids of the answer and of the HTTP request.
        metadata: The request's, and the provider's other fields under its name.
    """

    images: tuple[Image, ...] = attrs.field(default=(), converter=_images)
    text: str = ""
    model: str | None = None
    usage: ImageUsage = attrs.field(factory=ImageUsage)
    id: str | None = None
    request_id: str | None = None
    metadata: dict[str, Any] = mapping_field()

    @property
    def image(self) -> Image:
        """The first image; an answer has at least one."""
        return self.images[0]


def image_problems(request: ImageRequest) -> list[Problem]:
    """The problems of a request: what no provider could do."""
    problems = [*_of_the_prompt(request), *_of_the_images(request), *_of_the_words(request)]
    if request.n is not None and (type(request.n) is not int or request.n < 1):
        problems.append(
            Problem(("n",), "must_be_positive", f"is {shown(request.n)}; expected a number of images, from 1")
        )
    if request.size is not None and not (isinstance(request.size, str) and SIZE.fullmatch(request.size)):
        sentence = f"is {shown(request.size)}; expected '1024x1024', (1024, 1024) or 'auto'"
        problems.append(Problem(("size",), "invalid_format", sentence))
    return problems


def _of_the_prompt(request: ImageRequest) -> Iterator[Problem]:
    prompt, operation = request.prompt, request.operation
    if prompt is not None and not isinstance(prompt, str):
        yield wrong_type(("prompt",), prompt, "str")
    elif operation == "variation":
        if prompt:
            sentence = "a variation takes no prompt; use edit_image to say what should change"
            yield Problem(("prompt",), "unexpected", sentence)
    elif not (prompt or "").strip():
        yield Problem(("prompt",), "empty", f"to {operation} an image takes a prompt")


def _of_the_images(request: ImageRequest) -> Iterator[Problem]:
    images, mask, operation = request.images, request.mask, request.operation
    if not isinstance(images, tuple):
        yield wrong_type(("images",), images, "an Image or several: Image.from_file(path) makes one")
        return
    if operation == "generate" and images:
        yield Problem(("images",), "unexpected", "generate_image starts from nothing; use edit_image")
    if operation == "edit" and not images:
        yield Problem(("images",), "empty", "there is no image to edit")
    if operation == "variation" and len(images) != 1:
        yield Problem(("images",), "wrong_number", f"{len(images)} images; a variation is of one")
    for index, image in enumerate(images):
        if not isinstance(image, Image):
            yield wrong_type(("images", index), image, "Image")
    if mask is not None and not isinstance(mask, Image):
        yield wrong_type(("mask",), mask, "Image")
    elif mask is not None and operation != "edit":
        yield Problem(("mask",), "unexpected", "a mask is for edit_image")


def _of_the_words(request: ImageRequest) -> Iterator[Problem]:
    for name, words in (("operation", get_args(ImageOperation)), ("response_format", ("url", "b64_json", None))):
        if getattr(request, name) not in words:
            expected = ", ".join(repr(word) for word in words if word)
            yield Problem((name,), "unknown", f"is {shown(getattr(request, name))}; expected one of {expected}")
    for name in WORDS:
        if not isinstance(getattr(request, name), (str, type(None))):
            yield wrong_type((name,), getattr(request, name), "str")
