"""`generate_image`, `edit_image` and `image_variations`: pictures from words and from pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Unpack

from allm.data.errors import ImageAdapterError
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse, check_image_request
from allm.execution.services.service import Service, UnaryOptions, own_options
from allm.execution.services.unary import ask, resolve_unary
from allm.runtime.engine import Engine

__all__ = ["ImageOptions", "edit_image", "generate_image", "image_variations"]


class ImageOptions(UnaryOptions, total=False):
    """Options of the image calls: those of `UnaryOptions`, and the fields of `ImageRequest` under the same names."""

    n: int | None
    size: str | tuple[int, int] | None
    quality: str | None
    style: str | None
    background: str | None
    output_format: str | None
    response_format: Literal["url", "b64_json"] | None
    user: str | None


IMAGES: Service[ImageRequest, ImageResponse] = Service(
    name="image",
    noun="images",
    span="image",
    request_type=ImageRequest,
    check=check_image_request,
    facts=lambda _request, response: {"images": len(response.images), "usage": response.usage},
    error_type=ImageAdapterError,
    fields=own_options(ImageOptions),
)


async def generate_image(engine: Engine, prompt: str | ImageRequest, **options: Unpack[ImageOptions]) -> ImageResponse:
    """Draw.

        response = await allm.generate_image(engine, "a red fox in the snow", size="1024x1024")
        response.image.save("fox.png")

    Args:
        engine: Who draws: its `image_adapter`, with its `image_model`; its chat model is never used for this.
        prompt: What to draw, or a whole request, which may also be one to edit.
        options: See `ImageOptions`.

    Raises:
        ImageAdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: What is wrong with the call; nothing has been sent.
    """
    return await _ask(engine, IMAGES.request_of(prompt), options)


async def edit_image(
    engine: Engine,
    images: Image | Iterable[Image],
    prompt: str,
    *,
    mask: Image | None = None,
    **options: Unpack[ImageOptions],
) -> ImageResponse:
    """Change an image, or make one from several: all of them are sent.

    Args:
        engine: As for `generate_image`.
        images: What to start from. A URL is not fetched here: pass the bytes.
        prompt: What to change.
        mask: Its transparent parts are where the first image may change.
        options: See `ImageOptions`.

    Raises:
        ImageAdapterError, EngineError, OptionError, ValidationError: As `generate_image`.
    """
    return await _ask(engine, ImageRequest(prompt, operation="edit", images=images, mask=mask), options)


async def image_variations(engine: Engine, image: Image, **options: Unpack[ImageOptions]) -> ImageResponse:
    """Images like this one.

    Raises:
        ImageAdapterError, EngineError, OptionError, ValidationError: As `generate_image`.
    """
    return await _ask(engine, ImageRequest(operation="variation", images=image), options)


async def _ask(engine: Engine, request: ImageRequest, options: ImageOptions) -> ImageResponse:
    call = resolve_unary(IMAGES, engine, options)
    request = call.request_for(request)
    return await ask(call, request, operation=request.operation)
