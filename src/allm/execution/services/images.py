"""`generate_image`, `edit_image` and `image_variations`: images from prompts and from other images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Unpack

import attrs

from allm.data.errors import ImageAdapterError
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse
from allm.execution.services.service import Service, UnaryOptions, own_options
from allm.execution.services.unary import ask, resolve_unary
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.runtime.service_costs import image_cost

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


def _priced(provider: str, request: ImageRequest, response: ImageResponse) -> ImageResponse:
    cost = image_cost(provider, response.model or request.model, response.usage, edits=bool(request.images))
    return response if cost is None else attrs.evolve(response, usage=attrs.evolve(response.usage, total_cost=cost))


IMAGES: Service[ImageRequest, ImageResponse] = Service(
    name="image",
    noun="images",
    span="image",
    request_type=ImageRequest,
    facts=lambda _request, response: {"images": len(response.images), "usage": response.usage},
    priced=_priced,
    error_type=ImageAdapterError,
    fields=own_options(ImageOptions),
)


async def generate_image(engine: Engine, prompt: str | ImageRequest, **options: Unpack[ImageOptions]) -> ImageResponse:
    """Generate images from a prompt.

        response = await allm.generate_image(engine, "a red fox in the snow", size="1024x1024")
        response.image.save("fox.png")

    Args:
        engine: The engine, with an `image_adapter` and an `image_model`; its chat model is never used for images.
        prompt: What to draw, or a whole `ImageRequest`, which may also be an edit.
        options: See `ImageOptions`.

    Raises:
        ImageAdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    return await _ask(engine, IMAGES.request_of(prompt), options)


async def edit_image(
    engine: Engine,
    images: Image | Iterable[Image],
    prompt: str,
    *,
    mask: Image | None = None,
    **options: Unpack[ImageOptions],
) -> ImageResponse:
    """Edit an image, or make a new one from several; all of them are sent.

    Args:
        engine: As for `generate_image`.
        images: The images to start from. URLs are not fetched: pass the bytes.
        prompt: What to change.
        mask: The first image may change where the mask is transparent.
        options: See `ImageOptions`.

    Raises:
        ImageAdapterError, EngineError, OptionError, ValidationError: As for `generate_image`.
    """
    seal(options)
    return await _ask(engine, ImageRequest(prompt, operation="edit", images=images, mask=mask), options)


async def image_variations(engine: Engine, image: Image, **options: Unpack[ImageOptions]) -> ImageResponse:
    """Make variations of an image.

    Raises:
        ImageAdapterError, EngineError, OptionError, ValidationError: As for `generate_image`.
    """
    seal(options)
    return await _ask(engine, ImageRequest(operation="variation", images=image), options)


async def _ask(engine: Engine, request: ImageRequest, options: ImageOptions) -> ImageResponse:
    call = resolve_unary(IMAGES, engine, options)
    request = call.request_for(request)
    response: ImageResponse = await ask(call, request, operation=request.operation)
    return _priced(call.adapter.provider, request, response)
