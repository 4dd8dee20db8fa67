"""The answer of the Images API as an `ImageResponse`.

Facts: https://platform.openai.com/docs/api-reference/images/object. DALL-E answers a URL that lives two hours, or
base64 when asked; GPT Image models answer base64, with `usage` and what they chose (`size`, ...) at the top level.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import as_count, as_object, as_objects, as_text, image_of_base64, image_of_url
from allm.data.errors import AdapterError
from allm.data.image import Image
from allm.data.image_request import ImageResponse, ImageUsage

__all__ = ["decode_images"]

MIME_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
CHOSEN = ("background", "created", "output_format", "quality", "size")


def decode_images(document: dict[str, Any], *, provider: str, model: str | None, prompt: str | None) -> ImageResponse:
    """The images of an answer; beside good ones, those that cannot be read are counted in `metadata`.

    Raises:
        AdapterError: `malformed_response`: there are none in it, or none that can be read.
    """
    mime_type = MIME_TYPES.get(str(document.get("output_format")))
    items = as_objects(document.get("data"))
    images = [image for item in items if (image := _image(item, mime_type, prompt))]
    if not images:
        raise AdapterError(
            "the answer has an image that cannot be read"
            if any(map(_sent, items))
            else "the answer has no image in it",
            reason="malformed_response",
            provider=provider,
        )
    notes = {name: document[name] for name in CHOSEN if document.get(name) is not None}
    if len(images) < len(items):
        notes["unreadable_images"] = len(items) - len(images)
    return ImageResponse(
        images=images,
        model=as_text(document.get("model")) or model,
        usage=_usage(as_object(document.get("usage")), len(images)),
        metadata={provider: notes} if notes else {},
    )


def _sent(item: dict[str, Any]) -> str | None:
    return as_text(item.get("b64_json")) or as_text(item.get("url"))


def _image(item: dict[str, Any], mime_type: str | None, prompt: str | None) -> Image | None:
    data, url = as_text(item.get("b64_json")), as_text(item.get("url"))
    fields = {"prompt": prompt, "revised_prompt": as_text(item.get("revised_prompt"))}
    if data is not None:
        return image_of_base64(data, mime_type, **fields)
    return image_of_url(url, mime_type, **fields) if url is not None else None


def _usage(usage: dict[str, Any], images: int) -> ImageUsage:
    known = {"input_tokens", "output_tokens", "total_tokens"}
    return ImageUsage(
        images=images,
        input_tokens=as_count(usage.get("input_tokens")),
        output_tokens=as_count(usage.get("output_tokens")),
        total_tokens=as_count(usage.get("total_tokens")),
        input_image_tokens=as_count(as_object(usage.get("input_tokens_details")).get("image_tokens")),
        output_image_tokens=as_count(as_object(usage.get("output_tokens_details")).get("image_tokens")),
        extra={name: value for name, value in usage.items() if name not in known},
    )
