"""`generate_image`, `edit_image` and `image_variations`: pictures from words and from pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Unpack

import attrs

from allm.data.errors import EngineError, ImageAdapterError
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse, check_image_request
from allm.execution.services.unary import UnaryOptions, resolve_unary
from allm.runtime.adapters import as_adapter
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


FIELDS = ImageOptions.__annotations__.keys() - UnaryOptions.__annotations__.keys()


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
    request = prompt if isinstance(prompt, ImageRequest) else ImageRequest(prompt)
    return await _call(engine, request, options)


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
    return await _call(engine, ImageRequest(prompt, operation="edit", images=images, mask=mask), options)


async def image_variations(engine: Engine, image: Image, **options: Unpack[ImageOptions]) -> ImageResponse:
    """Images like this one.

    Raises:
        ImageAdapterError, EngineError, OptionError, ValidationError: As `generate_image`.
    """
    return await _call(engine, ImageRequest(operation="variation", images=image), options)


async def _call(engine: Engine, request: ImageRequest, options: Mapping[str, Any]) -> ImageResponse:
    given = {name: value for name, value in options.items() if name in FIELDS and value is not None}
    call = resolve_unary(
        engine,
        "image",
        {name: value for name, value in options.items() if name not in FIELDS},
        ImageAdapterError,
        FIELDS,
    )
    request = attrs.evolve(
        request,
        **given,
        model=call.model or request.model or engine.image_model,
        options={**request.options, **call.body},
    )
    check_image_request(request)
    if request.model is None and as_adapter(call.adapter).requires_model:
        raise EngineError(
            "no model for images is given: pass model=, set Engine(image_model=...), or use "
            "engine.with_services(image_model='provider:model')",
            reason="missing_model",
        )
    prepared = call.adapter.prepare(request, call.adapter_options)
    with call.running(model=request.model, operation=request.operation) as span:
        response: ImageResponse = await call.send(prepared, span)
        span.stop(images=len(response.images), usage=response.usage)
    return attrs.evolve(response, metadata={**request.metadata, **response.metadata})
