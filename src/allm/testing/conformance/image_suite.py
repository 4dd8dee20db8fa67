"""The conformance suite for image adapters."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from allm.data.errors import ImageAdapterError
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse
from allm.data.json.codec import from_json, to_json
from allm.execution.services.images import edit_image, generate_image
from allm.runtime.engine import Engine
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.unary_cases import UnaryCases, unary_case
from allm.testing.replies import Reply

__all__ = ["ImageAdapterConformance", "ImageCapability"]

ImageCapability = Literal["http", "api_key", "edit", "several_images"]
"""Capabilities that an image adapter may lack; see `ImageAdapterConformance.lacks`."""

PROMPT = "a conformance fox 7f3a"
# A PNG of one pixel, and two variants with trailing bytes.
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
IMAGES = (PIXEL, PIXEL + b"second", PIXEL + b"third")


class ImageAdapterConformance(UnaryCases):
    """Cases for image adapters. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
            - `edit`: it edits images
            - `several_images`: it returns `n` images, and edits more than one
    """

    lacks: ClassVar[Mapping[ImageCapability, str]] = {}
    _slot = "image"
    _capabilities = get_args(ImageCapability)
    _error_type = ImageAdapterError

    def make_reply(self, images: Sequence[bytes]) -> Reply:
        """A response with these images, as the provider would send it."""
        raise NotImplementedError(
            f"{type(self).__name__} has to define make_reply(self, images), or declare lacks = {{'http': 'the reason'}}"
        )

    def _request(self) -> ImageRequest:
        return ImageRequest(PROMPT, model=self.model)

    async def _ask(self, engine: Engine, **options: Any) -> ImageResponse:
        return await generate_image(engine, PROMPT, **options)

    def _sample(self) -> Reply:
        return self._reply(1)

    def _reply(self, images: int) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(IMAGES[:images])

    @unary_case()
    async def test_an_image_is_generated(self) -> None:
        """The response has the image's bytes and the image count, and survives JSON."""
        async with self._playing(self._reply(1)) as stage:
            response = await generate_image(stage.engine, PROMPT)
            holds(response.images, "the response has no image")
            holds(response.image.to_bytes(), "the image has no bytes")
            same(response.usage.images, len(response.images), "usage.images")
            same(from_json(to_json(response)), response, "the response against itself after JSON")
            if "http" not in self.lacks:
                same([image.to_bytes() for image in response.images], [IMAGES[0]], "the images that were sent")
                [request] = stage.server.requests
                holds(PROMPT.encode() in request.body, "the prompt is not in the request")

    @unary_case("several_images")
    async def test_several_images_are_in_order(self) -> None:
        """The response has as many images as were asked for, in order."""
        async with self._playing(self._reply(3)) as stage:
            response = await generate_image(stage.engine, PROMPT, n=3)
            same(len(response.images), 3, "the number of images for n=3")
            if "http" not in self.lacks:
                same([image.to_bytes() for image in response.images], list(IMAGES), "the images, in their order")

    @unary_case("http", "edit", "several_images")
    async def test_every_image_of_an_edit_is_sent(self) -> None:
        """The request has each image, as bytes or as base64 text."""
        originals = [Image.from_bytes(data) for data in IMAGES]
        async with self._playing(self._reply(1)) as stage:
            await edit_image(stage.engine, originals, PROMPT)
            [request] = stage.server.requests
            for index, data in enumerate(IMAGES):
                sent = data in request.body or base64.b64encode(data) in request.body
                holds(sent, f"image {index} of an edit is not in the request")
