"""OpenAI's Images API, and what speaks it."""

from __future__ import annotations

from typing import final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    ImageAdapter,
    JsonResponse,
    explains_settings,
    form_fields,
    multipart,
    post_json,
)
from allm.data.image_request import ImageRequest, ImageResponse
from allm.providers.openai.connection import Connection
from allm.providers.openai.image_decode import decode_images
from allm.providers.openai.image_encode import encode_files, encode_image

__all__ = ["OpenAIImages"]

_PATHS = {"generate": "/images/generations", "edit": "/images/edits", "variation": "/images/variations"}


@attrs.frozen
class _Prepared:
    call: HttpCall
    request: ImageRequest


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAIImages(Connection, ImageAdapter):
    """Images by OpenAI, and by services that speak its format: `Engine(image_adapter=OpenAIImages(), image_model=...)`.

    What a model does not take is refused before anything is sent; names that no family knows are sent as they are.
    The arguments are those of `OpenAI`.
    """

    def prepare(self, request: ImageRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What the model does not take, an image that cannot be sent; all problems at once.
        """
        body, path = encode_image(request), _PATHS[request.operation]
        if request.operation == "generate":
            return _Prepared(self.post(path, body, options, model=request.model), request)
        kind, form = multipart(form_fields(body), encode_files(request))
        return _Prepared(self.post(path, form, options, kind, model=request.model), request)

    async def send(self, prepared: _Prepared) -> ImageResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        request, provider = prepared.request, self.provider

        def decode(answer: JsonResponse) -> ImageResponse:
            found = decode_images(answer.document, provider=provider, model=request.model, prompt=request.prompt)
            return attrs.evolve(found, request_id=answer.request_id)

        return await post_json(prepared.call, decode)
