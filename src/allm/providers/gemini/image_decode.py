"""The answer of `generateContent` of an image model as an `ImageResponse`.

Facts: https://ai.google.dev/gemini-api/docs/image-generation; drafts come as parts with `thought: true`, and an answer
that was withheld has a `finishReason` such as IMAGE_SAFETY, or a `blockReason`, and no image.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import as_count, as_object, as_objects, as_text, image_of_base64
from allm.data.errors import AdapterError
from allm.data.image import Image
from allm.data.image_request import ImageResponse, ImageUsage
from allm.providers.gemini.errors import is_withheld

__all__ = ["decode_images"]

_COUNTS = {"promptTokenCount", "candidatesTokenCount", "totalTokenCount"}


def decode_images(document: dict[str, Any], *, provider: str, model: str | None, prompt: str | None) -> ImageResponse:
    """The images of an answer.

    Raises:
        AdapterError: `content_filter`: they were withheld; `malformed_response`: there are none in it.
    """
    candidates = as_objects(document.get("candidates"))
    parts = [
        part
        for candidate in candidates
        for part in as_objects(as_object(candidate.get("content")).get("parts"))
        if not part.get("thought")
    ]
    images = [image for part in parts if (image := _image(as_object(part.get("inlineData")), prompt))]
    text = "".join(as_text(part.get("text")) or "" for part in parts)
    if not images:
        raise _none(document, candidates, text, provider)
    return ImageResponse(
        images=images,
        text=text,
        model=as_text(document.get("modelVersion")) or model,
        usage=_usage(as_object(document.get("usageMetadata")), len(images)),
        id=as_text(document.get("responseId")),
    )


def _image(inline: dict[str, Any], prompt: str | None) -> Image | None:
    data, mime_type = as_text(inline.get("data")), as_text(inline.get("mimeType"))
    if data is None or not (mime_type or "image/").startswith("image/"):
        return None
    return image_of_base64(data, mime_type, prompt=prompt)


def _none(document: dict[str, Any], candidates: list[dict[str, Any]], text: str, provider: str) -> AdapterError:
    blocked = as_text(as_object(document.get("promptFeedback")).get("blockReason"))
    reasons = [reason for candidate in candidates if (reason := as_text(candidate.get("finishReason")))]
    reason = blocked or next((reason for reason in reasons if reason != "STOP"), None)
    said = f"; the model said: {text[:200]}" if text else ""
    return AdapterError(
        f"the answer has no image in it ({reason or 'no reason given'}){said}",
        reason="content_filter" if blocked or is_withheld(reason) else "malformed_response",
        provider=provider,
        provider_code=reason,
    )


def _of_images(details: Any) -> int | None:
    """The tokens that are images, where it is told of what modality they are."""
    told = [as_count(item.get("tokenCount")) for item in as_objects(details) if item.get("modality") == "IMAGE"]
    return sum(count or 0 for count in told) if told else None


def _usage(usage: dict[str, Any], images: int) -> ImageUsage:
    counts = [as_count(usage.get(name)) for name in ("candidatesTokenCount", "thoughtsTokenCount")]
    return ImageUsage(
        images=images,
        input_tokens=as_count(usage.get("promptTokenCount")),
        output_tokens=sum(count or 0 for count in counts) if any(count is not None for count in counts) else None,
        total_tokens=as_count(usage.get("totalTokenCount")),
        output_image_tokens=_of_images(usage.get("candidatesTokensDetails")),
        extra={name: value for name, value in usage.items() if name not in _COUNTS},
    )
