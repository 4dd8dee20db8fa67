"""Images by Gemini's models."""

from __future__ import annotations

from typing import final

import attrs

from allm.adapters import AdapterOptions, HttpCall, ImageAdapter, JsonResponse, explains_settings, post_json
from allm.data.image_request import ImageRequest, ImageResponse
from allm.providers.gemini.adapter import Connection
from allm.providers.gemini.image_decode import decode_images
from allm.providers.gemini.image_encode import encode_image

__all__ = ["GeminiImages"]


@attrs.frozen
class _Prepared:
    call: HttpCall
    request: ImageRequest


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class GeminiImages(Connection, ImageAdapter):
    """Images by Gemini: drawing, and editing one image or several. Google's answer may have text beside the images.

    The arguments are those of `Gemini`.
    """

    def prepare(self, request: ImageRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What Gemini does not take, an image that cannot be sent; all problems at once.
        """
        body = encode_image(request)
        return _Prepared(self.post(request.model or "", "generateContent", body, options), request)

    async def send(self, prepared: _Prepared) -> ImageResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong; `content_filter` where the images were withheld.
        """
        request, provider = prepared.request, self.provider

        def decode(answer: JsonResponse) -> ImageResponse:
            found = decode_images(answer.document, provider=provider, model=request.model, prompt=request.prompt)
            return attrs.evolve(found, request_id=answer.request_id)

        return await post_json(prepared.call, decode)
